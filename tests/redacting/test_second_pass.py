"""The second pass: exactly the decided images change, and decisions that do not belong to them are refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Outcome, environment
from reviewed_run import LOW, copies, page_of, pixels_of, report_of, saved

from mlcycle import cli
from mlcycle.inference.batch_run import BatchRun
from mlcycle.inference.privacy.hashed_names import load_names
from mlcycle.redacting import decided

pytest_plugins = ("tiny_album", "tiny_archive")

Run = Callable[..., Outcome]
# A face that the model does not find, in none.jpg: x1 y1 x2 y2.
MISSED = [200, 100, 300, 200]
# A process that is killed after it has written three copies.
DYING = """
import os, signal, sys
from mlcycle.inference.copies import image_copies
save, written = image_copies.save, []
def dying(*arguments, **options):
    save(*arguments, **options)
    written.append(1)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
image_copies.save = dying
from mlcycle.cli import run
sys.exit(run(sys.argv[1:]))
"""
DECISIONS: dict[str, dict[str, Any]] = {
    "bar.png": {"removed": [1], "accepted": True},
    "none.jpg": {"added": [MISSED]},
    "one.jpg": {"accepted": True},
}


class Reviewed(NamedTuple):
    """A run that was redacted once, and the file of decisions on three of its images."""

    archive: Path
    run: Path
    file: Path
    first: tuple[str | Path, ...]  # the command of the first pass
    second: tuple[str | Path, ...]


def review(archive: Path, tiny: Path, folder: Path) -> Reviewed:
    run, file = folder / "run", folder / "decisions.json"
    first = ("redact", archive, "--model", tiny, "--out", run, *LOW)
    assert cli.run([str(each) for each in first]) == 3  # one image is broken
    saved(run, file, DECISIONS)
    return Reviewed(archive, run, file, first, ("redact", archive, "--out", run, "--decisions", file))


@pytest.fixture
def reviewed(archive: Path, tiny: Path, tmp_path: Path) -> Reviewed:
    """A run of the test's own."""
    return review(archive, tiny, tmp_path)


@pytest.fixture(scope="module")
def untouched(encoded_archive: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    """A run that tests share, because they change nothing."""
    return review(encoded_archive, tiny, tmp_path_factory.mktemp("untouched"))


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_exactly_the_images_that_decisions_change_are_redacted_again(mlcycle: Run, reviewed: Reviewed) -> None:
    before = copies(reviewed.run)
    outcome = mlcycle(*reviewed.second)
    assert outcome.code == 0, outcome.err
    assert "3 decisions, 3 of them new" in outcome.err
    assert "2 images redacted again, as decided" in outcome.err
    assert changed(before, copies(reviewed.run)) == {"bar.png", "none.jpg"}
    # Nothing is covered in bar.png any more: the copy has the image's own pixels.
    assert np.array_equal(pixels_of(reviewed.run / "redacted/bar.png"), pixels_of(reviewed.archive / "bar.png"))
    original, copy = pixels_of(reviewed.archive / "none.jpg"), pixels_of(reviewed.run / "redacted/none.jpg")
    difference_HW = np.abs(original - copy).mean(axis=2)
    assert difference_HW[120:180, 220:280].mean() > 5
    assert difference_HW[300:, 450:].mean() < 3


def test_the_report_has_the_decisions(mlcycle: Run, reviewed: Reviewed) -> None:
    before = report_of(reviewed.run)
    assert before["counts"]["images_not_reviewed"] == 2
    mlcycle(*reviewed.second)
    report = report_of(reviewed.run)
    counts = {name: report["decisions"][name] for name in report["decisions"] if name not in ("list", "by")}
    assert counts == {
        "images": 3, "accepted": 2, "changed_images": 2, "removed_regions": 1, "added_regions": 1, "not_listed": 0,
    }  # fmt: skip
    assert report["counts"]["covered_regions"] == before["counts"]["regions"] == 4
    assert report["counts"]["images_not_reviewed"] == 0
    assert report["decisions"]["list"][0] == {
        "input": "bar.png", "part": None, "accepted": True, "removed": [{"box": [10, 20, 110, 40], "score": 0.2}],
        "added": [], "by": None, "at": None,
    }  # fmt: skip
    assert report["decisions"]["by"] == {}
    assert report["passes"] == before["passes"]
    page = (reviewed.run / "report.html").read_text()
    assert "1 region removed" in page
    assert "data:image" not in page


def test_who_decided_is_noted_only_if_given(mlcycle: Run, reviewed: Reviewed) -> None:
    mlcycle(*reviewed.second, "--by", "Ada")
    decisions = report_of(reviewed.run)["decisions"]
    assert decisions["by"] == {"Ada": 3}
    assert all(each["by"] == "Ada" and each["at"] for each in decisions["list"])
    assert "images reviewed by Ada" in (reviewed.run / "report.html").read_text()


def test_the_second_pass_is_idempotent(mlcycle: Run, reviewed: Reviewed) -> None:
    mlcycle(*reviewed.second)
    before, report = copies(reviewed.run), report_of(reviewed.run)
    outcome = mlcycle(*reviewed.second)
    assert "3 decisions, 0 of them new" in outcome.err
    assert "redacted again" not in outcome.err
    assert copies(reviewed.run) == before
    assert report_of(reviewed.run) == report
    assert page_of(reviewed.run)["revision"] == 1


def test_a_later_file_replaces_decisions_on_its_images_alone(mlcycle: Run, reviewed: Reviewed) -> None:
    first = copies(reviewed.run)
    mlcycle(*reviewed.second)
    before = copies(reviewed.run)
    taken_back = saved(reviewed.run, reviewed.file.with_name("later.json"), {"bar.png": {}})
    mlcycle(*reviewed.second[:-1], taken_back)
    after = copies(reviewed.run)
    assert changed(before, after) == {"bar.png"}
    assert after["bar.png"][1] == first["bar.png"][1]  # covered as at first
    decisions = report_of(reviewed.run)["decisions"]
    assert [each["input"] for each in decisions["list"]] == ["none.jpg", "one.jpg"]


def test_a_resumed_first_pass_keeps_the_decisions(mlcycle: Run, reviewed: Reviewed) -> None:
    mlcycle(*reviewed.second)
    before = copies(reviewed.run)
    (reviewed.run / "redacted" / "none.jpg").unlink()
    outcome = mlcycle(*reviewed.first, "--resume")
    assert "1 image without a copy; processed again" in outcome.err
    assert "1 image redacted again, as decided" in outcome.err
    assert {name: data for name, (_, data) in copies(reviewed.run).items()} == {
        name: data for name, (_, data) in before.items()
    }
    assert report_of(reviewed.run)["decisions"]["images"] == 3


def test_decisions_on_a_changed_image_are_dropped(mlcycle: Run, reviewed: Reviewed) -> None:
    mlcycle(*reviewed.second)
    shutil.copy(reviewed.archive / "one.jpg", reviewed.archive / "none.jpg")
    outcome = mlcycle(*reviewed.first, "--resume")
    assert "1 decision dropped: the images have changed" in outcome.err
    assert report_of(reviewed.run)["decisions"]["images"] == 2
    assert next(each for each in page_of(reviewed.run)["images"] if each["input"] == "none.jpg")["kind"] == "sample"
    # The file of decisions is of the image as it was.
    refused = mlcycle(*reviewed.second)
    assert (refused.code, "an image none.jpg is gone or has changed since the review" in refused.err) == (3, True)


def test_images_that_are_gone_are_counted_and_not_shown(mlcycle: Run, reviewed: Reviewed) -> None:
    (reviewed.archive / "inside" / "two.png").unlink()
    outcome = mlcycle(*reviewed.second)
    assert (outcome.code, "1 image to review cannot be shown: gone, or changed meanwhile" in outcome.err) == (0, True)
    assert "inside/two.png" not in {each["input"] for each in page_of(reviewed.run)["images"]}


def test_a_decision_survives_a_touched_image(mlcycle: Run, reviewed: Reviewed) -> None:
    mlcycle(*reviewed.second)
    (reviewed.archive / "none.jpg").touch()
    outcome = mlcycle(*reviewed.first, "--resume")
    assert "1 file changed" in outcome.err
    assert "1 image redacted again, as decided" in outcome.err
    assert report_of(reviewed.run)["decisions"]["images"] == 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d.update(run="0" * 64), "of another run"),
        (lambda d: d["images"][1].update(digest="0" * 64), "none.jpg is gone or has changed"),
        (lambda d: d["images"][1].update(input="../none.jpg"), "that has no copy in the run"),
        (lambda d: d["images"][1].update(input="broken.jpg"), "that has no copy in the run"),
        (lambda d: d["images"][1].update(part=1), "that has no copy in the run"),
        (lambda d: d["images"][1].update(removed=[1]), "does not fit it: no such region"),
        (lambda d: d["images"][1].update(added=[[0, 0, 601, 5]]), "does not fit it: a box is not inside"),
        (lambda d: d["images"][1].update(more=1), "not a file that review.html has saved"),
    ],
)
def test_wrong_decisions_are_refused_and_nothing_is_changed(
    mlcycle: Run, untouched: Reviewed, tmp_path: Path, change: Callable[[dict[str, Any]], Any], why: str
) -> None:
    document = json.loads(untouched.file.read_text())
    change(document)
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    before = copies(untouched.run), report_of(untouched.run)
    outcome = mlcycle(*untouched.second[:-1], tmp_path / "wrong.json")
    assert outcome.code == 3
    assert why in outcome.err
    assert (copies(untouched.run), report_of(untouched.run)) == before
    run = BatchRun.resume(untouched.run, {})
    assert run is not None
    assert list(decided.all_of(run)) == []  # not even the right ones
    run.close()


def test_decisions_of_another_run_of_the_same_folder_are_refused(
    mlcycle: Run, untouched: Reviewed, reviewed: Reviewed
) -> None:
    outcome = mlcycle(*untouched.second[:-1], reviewed.file)
    assert (outcome.code, "of another run" in outcome.err) == (3, True)


def test_there_must_be_a_run_of_this_command(mlcycle: Run, untouched: Reviewed, tiny: Path, tmp_path: Path) -> None:
    reviewed = untouched
    assert "no run in" in mlcycle(*reviewed.second[:3], tmp_path / "none", "--decisions", reviewed.file).err
    infer = tmp_path / "infer"
    mlcycle("infer", "dir", reviewed.archive, "--model", tiny, "--out", infer, "--redact", "blur", infer / "redacted")
    assert "was not made by mlcycle redact" in mlcycle(*reviewed.second[:3], infer, "--decisions", reviewed.file).err


@pytest.mark.parametrize("option", [["--method", "fill"], ["--resume"], ["--threshold", "0"], ["--provider", "cpu"]])
def test_the_settings_of_the_run_stay(mlcycle: Run, untouched: Reviewed, option: list[str]) -> None:
    outcome = mlcycle(*untouched.second, *option)
    assert outcome.code == 2
    assert f"{option[0]} does not fit --decisions" in outcome.err


def test_a_run_is_decided_from_another_folder(
    mlcycle: Run, archive: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths of copies in the records do not lead elsewhere."""
    monkeypatch.chdir(tmp_path)
    mlcycle("redact", "archive", "--model", tiny, "--out", "near", *LOW)
    file = saved(tmp_path / "near", tmp_path / "near.json", {"bar.png": {"removed": [1]}})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert mlcycle("redact", archive, "--out", tmp_path / "near", "--decisions", file).code == 0
    assert not list((tmp_path / "elsewhere").iterdir())
    assert np.array_equal(pixels_of(tmp_path / "near/redacted/bar.png"), pixels_of(archive / "bar.png"))


@pytest.mark.slow
def test_a_private_run_is_decided_and_names_nobody(process: Run, archive: Path, tiny: Path, tmp_path: Path) -> None:
    run, secret = tmp_path / "run", archive.rename(tmp_path / "Secretplace")
    outcome = process("redact", secret, "--model", tiny, "--out", run, *LOW, "--private")
    assert (outcome.code, "private: nothing was refused" in outcome.err) == (3, True), outcome.err
    report, page = report_of(run), page_of(run)
    assert (report["private"], report["folder"]) == (True, None)
    assert report["without_copy"]["images"][0]["input"] == load_names(run).name("broken.jpg")
    assert page["command"] == "mlcycle redact FOLDER --out RUN --private --decisions decisions.json"
    assert all(re.fullmatch(r"[0-9a-f]{32}\.(jpg|png)", each["title"]) for each in page["images"])
    name = next(each["input"] for each in page["images"] if each["kind"] == "empty")
    file = saved(run, tmp_path / "decisions.json", {name: {"added": [MISSED]}})
    outcome = process("redact", secret, "--out", run, "--decisions", file, "--private")
    assert (outcome.code, "private: nothing was refused" in outcome.err) == (0, True), outcome.err
    assert report_of(run)["decisions"]["list"][0]["input"] == name
    for word in (b"Secretplace", b"none.jpg", b"two.png", b"broken.jpg"):
        assert not any(word in path.read_bytes() for path in run.rglob("*") if path.is_file())


def test_a_private_run_stays_private(mlcycle: Run, untouched: Reviewed, tmp_path: Path) -> None:
    begun = BatchRun.begin(tmp_path / "run", {"private": "yes"})
    begun.close()
    outcome = mlcycle("redact", untouched.archive, "--out", tmp_path / "run", "--decisions", untouched.file)
    assert (outcome.code, "was started with private yes" in outcome.err) == (2, True)


@pytest.mark.parametrize("again", ["second", pytest.param("first", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_killed_second_pass_is_completed(mlcycle: Run, reviewed: Reviewed, again: str) -> None:
    """By the same command, or by a resumed first pass."""
    (reviewed.archive / "more").mkdir()
    decisions = {f"more/{number}.jpg": {"added": [MISSED]} for number in range(8)}
    for name in decisions:
        (reviewed.archive / name).hardlink_to(reviewed.archive / "none.jpg")
    mlcycle(*reviewed.first, "--resume")
    saved(reviewed.run, reviewed.file, decisions)
    before = copies(reviewed.run)
    words = [sys.executable, "-c", DYING, *map(str, reviewed.second)]
    died = subprocess.run(words, env=environment(), capture_output=True, check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert 3 <= len(changed(before, copies(reviewed.run))) < 8
    mlcycle(*(reviewed.second if again == "second" else (*reviewed.first, "--resume")))
    after = copies(reviewed.run)
    assert changed(before, after) == decisions.keys()
    assert len({after[name][1] for name in decisions}) == 1
    assert report_of(reviewed.run)["decisions"]["added_regions"] == 8
