"""A batch run: interrupted at any point and resumed, it gives the same files as an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Outcome, environment
from PIL import Image

from mlcycle import files
from mlcycle.errors import InputError, UsageError
from mlcycle.inference.batch import ledger
from mlcycle.inference.batch_run import BatchRun, merge_runs, must_be_new
from mlcycle.inference.record import FinishedRecords, Part, Record, Source

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def enlarge(album: Path, count: int) -> None:
    """Adds `count` images to an album: links to its own images."""
    (album / "more").mkdir()
    for number in range(count):
        original = ("one.jpg", "none.jpg", "inside/two.png")[number % 3]
        (album / "more" / f"{number:03d}{Path(original).suffix}").hardlink_to(album / original)


def test_a_run_has_sorted_records_and_a_summary(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = mlcycle("infer", "dir", album, "--model", tiny, "--out", run)
    assert (outcome.code, outcome.out) == (3, "")
    assert "4 images in all, 1 failed" in outcome.err
    assert "\nfailed: broken.jpg: it is not an image of a known format\n" in outcome.err
    assert [(each["input"], each["status"]) for each in lines(run)] == [
        ("broken.jpg", "error"),
        ("inside/two.png", "ok"),
        ("none.jpg", "empty"),
        ("one.jpg", "ok"),
    ]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["schema_version"] == 2
    counts = {name: summary[name] for name in ("images", "ok", "empty", "error", "faces", "errors")}
    assert counts == {"images": 4, "ok": 2, "empty": 1, "error": 1, "faces": 3, "errors": {"not-an-image": 1}}
    assert summary["last_part"]["milliseconds_an_image"].keys() == {"read", "decode", "resize", "run", "select"}


def test_a_key_and_its_draft_of_a_killed_process_do_not_stop_a_new_run(tmp_path: Path) -> None:
    for name in ("names.key", files.draft(tmp_path / "names.key").name):
        (tmp_path / name).write_text("")
    must_be_new(tmp_path, overwrite=False, kept=["names.key"])
    with pytest.raises(InputError, match="not empty"):
        must_be_new(tmp_path, overwrite=False)


def test_a_new_run_replaces_nothing_without_overwrite(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    assert mlcycle(*arguments).code == 3
    before = contents(run)
    refused = mlcycle(*arguments)
    assert refused.code == 3
    assert "already contains a run" in refused.err
    assert contents(run) == before
    (album / "broken.jpg").unlink()
    restarted = mlcycle(*arguments, "--overwrite")
    assert (restarted.code, len(lines(run))) == (0, 3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").touch()
    assert "not a run folder" in mlcycle(*arguments[:-1], tmp_path / "full").err


def test_resume_skips_finished_images(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    assert mlcycle(*arguments, "--resume").code == 3  # starts a run if there is none
    (album / "new.png").hardlink_to(album / "inside" / "two.png")
    outcome = mlcycle(*arguments, "--resume")
    assert "4 images already finished" in outcome.err
    assert "1 image, 2 faces, 0 failed" in outcome.err
    assert outcome.code == 3  # one image is still broken
    assert [each["input"] for each in lines(run)] == [
        "broken.jpg",
        "inside/two.png",
        "new.png",
        "none.jpg",
        "one.jpg",
    ]


def test_retry_failed_processes_failed_images_again(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    mlcycle(*arguments)
    assert "0 images, 0 faces, 0 failed\n" in mlcycle(*arguments, "--resume").err  # and no rate
    Image.new("RGB", (20, 20)).save(album / "broken.jpg")
    outcome = mlcycle(*arguments, "--retry-failed")
    assert outcome.code == 0
    assert "1 failed image will be processed again" in outcome.err
    assert [each["status"] for each in lines(run)] == ["empty", "ok", "empty", "ok"]


def test_resume_with_other_settings_is_refused(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    arguments = ("infer", "dir", album, "--model", tiny, "--out", tmp_path / "run")
    mlcycle(*arguments)
    outcome = mlcycle(*arguments, "--resume", "--threshold", "0.7")
    assert outcome.code == 2
    assert "started with threshold 0.5, not 0.7" in outcome.err
    outcome = mlcycle(*arguments, "--resume", "--redact", "blur", tmp_path / "copies")
    assert outcome.code == 2
    assert not (tmp_path / "copies").exists()


@pytest.mark.slow
def test_merged_shards_equal_the_whole_run(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    enlarge(album, 96)
    arguments = ("infer", "dir", album, "--model", tiny)
    mlcycle(*arguments, "--out", tmp_path / "whole")
    shards = [tmp_path / f"shard-{number}" for number in (1, 2, 3)]
    for number, shard in enumerate(shards, 1):
        mlcycle(*arguments, "--out", shard, "--shard", f"{number}/3")
    sizes = [len(lines(shard)) for shard in shards]
    assert sum(sizes) == 100
    assert min(sizes) > 20
    outcome = mlcycle("infer", "merge", *shards, "--out", tmp_path / "merged")
    assert outcome.code == 3  # one of the images is broken
    assert "100 images of 3 runs" in outcome.err
    assert (tmp_path / "merged" / "records.jsonl").read_bytes() == (tmp_path / "whole" / "records.jsonl").read_bytes()
    assert mlcycle("infer", "merge", *shards, "--out", tmp_path / "merged").code == 3
    assert mlcycle("infer", "merge", album, "--out", tmp_path / "other").code == 3


def test_a_merged_run_is_not_named_like_a_file(mlcycle: Run, tmp_path: Path) -> None:
    outcome = mlcycle("infer", "merge", tmp_path, "--out", tmp_path / "x.csv")
    assert outcome.code == 2
    assert f"--out {tmp_path / 'x'} --format csv" in outcome.err
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_an_invalid_shard_is_refused(mlcycle: Run, album: Path, tiny: Path, shard: str) -> None:
    outcome = mlcycle("infer", "dir", album, "--model", tiny, f"--shard={shard}")
    assert outcome.code == 2
    assert "is not a shard" in outcome.err


def test_resuming_needs_a_run(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    for out in ([], ["--out", tmp_path / "faces.csv"]):
        outcome = mlcycle("infer", "dir", album, "--model", tiny, "--resume", *out)
        assert outcome.code == 2
        assert "--resume needs a run folder" in outcome.err


def test_a_run_can_be_written_in_another_format(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    mlcycle("infer", "dir", album, "--model", tiny, "--out", tmp_path / "run")
    mlcycle("infer", "merge", tmp_path / "run", "--out", tmp_path / "other", "--format", "csv")
    straight = mlcycle("infer", "dir", album, "--model", tiny, "--format", "csv").out
    assert (tmp_path / "other" / "records.csv").read_text() == straight


def test_a_second_process_and_a_damaged_ledger_are_refused(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    mlcycle(*arguments)
    holder = [sys.executable, "-c", f"""
import sys; from pathlib import Path; from mlcycle.inference.batch import ledger
opened = ledger.resume(Path({str(run)!r})); print("held", flush=True); sys.stdin.read()
"""]  # fmt: skip
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for again in ("--resume", "--overwrite"):
            refused = mlcycle(*arguments, again)
            assert refused.code == 3
            assert "another process uses" in refused.err
        other.kill()
    assert mlcycle(*arguments, "--resume").code == 3
    (run / ledger.NAME).write_bytes(b"no database" * 100)
    assert "is damaged" in mlcycle(*arguments, "--resume").err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_a_signal_stops_a_run_with_a_hint_to_resume(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    enlarge(album, 3000)
    run = tmp_path / "run"
    words = ["infer", "dir", str(album), "--model", str(tiny), "--out", str(run)]
    command = [sys.executable, "-m", "mlcycle", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        log = run / f"{ledger.NAME}-wal"
        while not (log.exists() and log.stat().st_size > 100_000):  # some records are committed
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(number)
        assert process.stderr is not None
        messages = process.stderr.read()
    assert process.returncode == code
    assert "continue with the same command and --resume" in messages
    assert not (run / "records.jsonl").exists()
    opened = ledger.resume(run)
    assert opened is not None
    assert 0 < len(opened) < 3000
    opened.close()


def test_a_full_disk_is_reported_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    opened = ledger.begin(tmp_path, {"landmarks": []})
    try:
        (pages,) = opened._database.execute("pragma page_count").fetchone()
        opened._database.execute(f"pragma max_page_count = {pages + 20}")  # SQLite then reports a full disk
        with pytest.raises(ledger.InputError, match="is full"):
            add_many(opened)
        opened._database.execute(f"pragma max_page_count = {pages + 10_000}")
    finally:
        opened.close()
    again = ledger.resume(tmp_path)
    assert again is not None
    whole = [json.loads(text)["input"] for (text,) in again._database.execute("select line from records")]
    assert len(whole) == len(again) > 100
    again.add(Record("one more.jpg"))
    again.close()


def add_many(opened: ledger.Ledger) -> None:
    for number in range(10_000):
        opened.add(Record(f"{number}.jpg"))


def test_pages_and_odd_names_are_distinguished(tmp_path: Path) -> None:
    opened = ledger.begin(tmp_path, {"landmarks": []})
    records = [Record("a.tif", part=Part("page", number, 3)) for number in (3, 1, 2)]
    records += [Record(os.fsdecode(b"\xff\n.jpg")), Record("a.tif2"), Record("a.tif", part=Part("page", 2, 3))]
    for record in records:
        opened.add(record)
    opened.commit()
    found = [(record.input, record.part and record.part.number) for record in opened.records()]
    assert found == [("a.tif", 1), ("a.tif", 2), ("a.tif", 3), ("a.tif2", None), (os.fsdecode(b"\xff\n.jpg"), None)]
    assert opened.has((b"\xff\n.jpg", 0))
    assert not opened.has((b"a.tif", 0))
    opened.close()


def run_of(folder: Path, *records: Record) -> Path:
    """Writes a run with these records."""
    run = BatchRun.begin(folder, {"landmarks": [], "shard": folder.name})
    run.process(lambda finished: records, lambda: None)
    run.close()
    return folder


def test_a_resumed_run_reports_progress_for_finished_and_new_files(tmp_path: Path) -> None:
    run_of(
        tmp_path, Record("a.jpg"), Record("b.tif", part=Part("page", 1, 2)), Record("b.tif", part=Part("page", 2, 2))
    )
    sources = [Source(Path("a.jpg"), "a.jpg"), Source(Path("c.jpg"), "c.jpg")]
    sources[1:1] = [Source(Path("b.tif"), "b.tif", part=Part("page", number, 2)) for number in (1, 2)]
    detected, advances = [], []

    def detect(finished: FinishedRecords) -> Iterator[Record]:
        for source in sources:
            if not finished.has(source):
                detected.append(source.key)
                yield Record(source.key)

    run = BatchRun.resume(tmp_path, {"landmarks": []})
    assert run is not None
    run.process(detect, lambda: advances.append(len(detected)))
    assert (detected, advances) == (["c.jpg"], [0, 0, 1])  # a file of two pages counts once
    assert (len(run), run.tally.images) == (4, 1)
    run.close()


def test_a_run_is_resumed_only_if_it_exists_and_has_the_same_settings(tmp_path: Path) -> None:
    assert BatchRun.resume(tmp_path / "none", {}) is None
    run_of(tmp_path / "run")
    with pytest.raises(UsageError, match="was started with shard run, not 1/2"):
        BatchRun.resume(tmp_path / "run", {"shard": "1/2"})
    run = BatchRun.resume(tmp_path / "run", {"shard": "run"})  # the refused attempt has released the ledger
    assert run is not None
    run.close()


def test_a_result_takes_precedence_over_an_error_in_a_merge(tmp_path: Path) -> None:
    failed, empty = Record("a.jpg", error=("truncated", "cut")), Record("a.jpg")
    runs = [run_of(tmp_path / "failed", failed, Record("b.jpg")), run_of(tmp_path / "empty", empty)]
    for number, order in enumerate((runs, runs[::-1])):
        merged, keys_differ = merge_runs(order, tmp_path / f"merged-{number}")
        assert [(record.input, record.status) for record in merged.records()] == [
            ("a.jpg", "empty"),
            ("b.jpg", "empty"),
        ]
        assert (merged.settings["shard"], keys_differ) == (None, False)
        merged.close()


def test_a_ledger_without_tables_is_created_again(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    sqlite3.connect(run / ledger.NAME).execute("pragma journal_mode = wal").connection.close()
    (run / ledger.NAME).touch()
    assert mlcycle("infer", "dir", album, "--model", tiny, "--out", run, "--resume").code == 3
    assert len(lines(run)) == 4


def test_a_run_killed_before_its_first_record_is_resumed(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    mlcycle(*arguments)
    opened = ledger.resume(run)
    assert opened is not None
    for record in list(opened.records()):
        opened.forget(*record.identity)
    opened.close()
    outcome = mlcycle(*arguments, "--resume")
    assert (outcome.code, "4 images in all, 1 failed" in outcome.err) == (3, True)


@pytest.mark.slow
def test_a_killed_and_resumed_run_gives_the_same_files(album: Path, tiny: Path, tmp_path: Path) -> None:
    enlarge(album, 30)
    kill_and_compare(album, tiny, tmp_path, kills=2)


@pytest.mark.slow
def test_a_run_killed_many_times_gives_the_same_files(album: Path, tiny: Path, tmp_path: Path) -> None:
    enlarge(album, 240)
    kill_and_compare(album, tiny, tmp_path, kills=40)


def kill_and_compare(album: Path, tiny: Path, tmp_path: Path, kills: int) -> None:
    """Kills the command `kills` times at random points, then lets it end, and compares all files."""

    def arguments(name: str) -> list[str]:
        copies = ["--redact", "blur", f"{name}/redacted", "--annotate", f"{name}/drawn"]
        return ["infer", "dir", str(album), "--model", str(tiny), "--out", f"{name}/run", *copies]

    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    draw = random.Random(kills)
    started = time.monotonic()
    command = [sys.executable, "-m", "mlcycle", *arguments("../whole")]
    subprocess.run(command, cwd=tmp_path / "whole", env=environment(), capture_output=True, check=False)
    took = time.monotonic() - started
    killed = 0
    while killed < kills:
        command = [sys.executable, "-m", "mlcycle", *arguments("../killed"), "--resume"]
        with subprocess.Popen(
            command, cwd=tmp_path / "killed", env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(draw.uniform(0.3, 0.9) * took / (1 if kills < 10 else 3))
            process.kill()
        killed += 1
    command = [sys.executable, "-m", "mlcycle", *arguments("../killed"), "--resume"]
    done = subprocess.run(
        command, cwd=tmp_path / "killed", env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    for name in ("redacted", "drawn"):
        assert contents(tmp_path / "killed" / name) == contents(tmp_path / "whole" / name)
    records = [
        (tmp_path / name / "run" / "records.jsonl").read_bytes().replace(b"../whole", b"../killed")
        for name in ("killed", "whole")
    ]
    assert records[0] == records[1]
