"""`mlcycle redact FOLDER`: a run that can be interrupted and resumed, and a report of what was done."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, environment

from mlcycle.artifact.bundled import FOLDER as MODELS
from mlcycle.errors import InputError
from mlcycle.inference.batch import ledger

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def report_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "report.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_becomes_a_run_beside_it_with_a_report(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("redact", album, "--model", tiny, "--method", "fill")
    run = album.with_name("album_redacted")
    assert (outcome.code, outcome.out) == (3, "")  # one image is broken
    assert outcome.err.splitlines()[-2:] == [
        f"report: {run / 'report.html'}",
        f"4 images in all, 1 failed: {run / 'records.jsonl'}",
    ]
    assert contents(run / "redacted").keys() == {"one.jpg", "none.jpg", "inside/two.png"}
    report = report_of(run)
    assert report["model"]["name"] == "tiny"
    assert (report["operating_point"], report["threshold"], report["method"]) == ("balanced", 0.5, "fill")
    assert report["folder"] == str(album)
    assert report["counts"] == {
        "images": 4, "frames": 0, "copies": 3, "gone": 0, "regions": 3, "doubtful_regions": 0,
        "images_with_doubtful_regions": 0, "images_without_a_face": 1, "images_not_reviewed": 1,
        "covered_regions": 3,
    }  # fmt: skip
    assert report["without_copy"]["by_code"] == {"not-an-image": 1}
    assert [each["input"] for each in report["without_copy"]["images"]] == ["broken.jpg"]
    (only,) = report["passes"]
    assert only["images"] == 4
    assert only["started"] <= only["finished"]
    page = (run / "report.html").read_text()
    assert "broken.jpg" in page
    assert report["model"]["sha256"] in page
    assert "data:image" not in page


def test_the_run_of_the_current_folder_is_beside_it(mlcycle: Run, album: Path, tiny: Path, monkeypatch) -> None:
    monkeypatch.chdir(album)
    assert mlcycle("redact", ".", "--model", tiny).code == 3
    assert (album.parent / "album_redacted" / "report.html").is_file()
    assert not (album / "report.html").exists()


def test_a_run_is_continued_or_replaced_only_if_told(mlcycle: Run, album: Path, tiny: Path) -> None:
    run = album.with_name("album_redacted")
    arguments = ("redact", album, "--model", tiny)
    mlcycle(*arguments)
    before = contents(run)
    assert "already contains a run" in mlcycle(*arguments).err
    assert "4 images already finished" in mlcycle(*arguments, "--resume").err
    after = contents(run)
    assert before.keys() == after.keys()
    # Of the pass that found nothing to do there is no trace, except in the times of the summary.
    assert {name for name in before if before[name] != after[name]} == {"summary.json"}
    refused = mlcycle(*arguments, "--resume", "--method", "fill")
    assert (refused.code, "was started with redaction blur, not fill" in refused.err) == (2, True)
    (album / "broken.jpg").write_bytes((album / "one.jpg").read_bytes())
    outcome = mlcycle(*arguments, "--retry-failed")
    assert outcome.code == 0
    assert [each["images"] for each in report_of(run)["passes"]] == [4, 1]
    assert (run / "redacted" / "broken.jpg").is_file()
    assert report_of(run)["without_copy"] == {"count": 0, "by_code": {}, "images": [], "not_named": 0}
    assert mlcycle(*arguments, "--overwrite", "--method", "fill").code == 0
    assert report_of(run)["method"] == "fill"


def test_a_changed_and_a_missing_image_are_in_the_report(mlcycle: Run, album: Path, tiny: Path) -> None:
    arguments = ("redact", album, "--model", tiny)
    mlcycle(*arguments)
    (album / "none.jpg").write_bytes((album / "one.jpg").read_bytes())
    (album / "inside" / "two.png").unlink()
    assert "1 file changed since the run was started" in mlcycle(*arguments, "--resume").err
    counts = report_of(album.with_name("album_redacted"))["counts"]
    assert (counts["gone"], counts["images_without_a_face"], counts["regions"]) == (1, 0, 4)


def test_a_required_signature_is_in_the_report(mlcycle: Run, album: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key = mlcycle("model", "keys", "show", MODELS / "models.pub").out
    outcome = mlcycle("redact", album, "--out", tmp_path / "run", "--require-signature", MODELS / "models.pub")
    assert outcome.code == 3
    assert report_of(tmp_path / "run")["model"]["signed_by"] in key
    mlcycle("redact", album, "--out", tmp_path / "run", "--retry-failed")  # without the signature
    assert report_of(tmp_path / "run")["model"]["signed_by"] is None


@pytest.mark.parametrize("option", ["--resume", "--retry-failed", "--videos", "--private"])
def test_an_option_of_folders_is_refused_for_images(mlcycle: Run, album: Path, option: str) -> None:
    outcome = mlcycle("redact", album / "one.jpg", option)
    assert outcome.code == 2
    assert f"{option} needs a folder of images" in outcome.err


def test_a_folder_is_given_alone_and_its_run_is_no_file(mlcycle: Run, album: Path) -> None:
    assert "others are given too" in mlcycle("redact", album, album / "one.jpg").err
    assert "is named like a file" in mlcycle("redact", album, "--out", album / "x.json").err


@pytest.mark.slow
def test_a_killed_and_resumed_run_gives_the_same_copies_and_counts(album: Path, tiny: Path, tmp_path: Path) -> None:
    (album / "more").mkdir()
    for number in range(20):
        original = ("one.jpg", "none.jpg", "inside/two.png")[number % 3]
        (album / "more" / f"{number:03d}{Path(original).suffix}").hardlink_to(album / original)

    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "mlcycle", "redact", str(album), "--model", str(tiny), "--out", name, "--resume"]

    started = time.monotonic()
    subprocess.run(command("whole"), cwd=tmp_path, env=environment(), capture_output=True, check=False)
    took = time.monotonic() - started
    with subprocess.Popen(command("killed"), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL) as other:
        time.sleep(0.8 * took)
        other.kill()
    done = subprocess.run(
        command("killed"), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, "24 images in all, 1 failed" in done.stderr) == (3, True), done.stderr
    assert contents(tmp_path / "killed" / "redacted") == contents(tmp_path / "whole" / "redacted")
    killed, whole = report_of(tmp_path / "killed"), report_of(tmp_path / "whole")
    assert killed["passes"][-1]["finished"] is not None
    for report in (killed, whole):
        del report["passes"], report["run"]
    assert killed == whole


def test_a_damaged_note_is_noticed(tmp_path: Path) -> None:
    opened = ledger.begin(tmp_path, {"landmarks": []})
    try:
        assert opened.notes.get("passes") is None
        opened.notes.remove("passes")
        opened.notes.set("passes", [1])
        opened.notes.set("decision", {"a": 1}, (b"\xff.jpg", 2))
        assert list(opened.notes.all("decision")) == [((b"\xff.jpg", 2), {"a": 1})]
        opened._database.execute("update notes set value = '[2]' where kind = 'passes'")
        with pytest.raises(InputError, match="is damaged"):
            opened.notes.get("passes")
    finally:
        opened.close()
