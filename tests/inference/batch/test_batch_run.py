"""A run with a ledger: broken off at any point and gone on with, it is what an unbroken one would have been."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, environment
from PIL import Image

from mlcycle.inference.batch import ledger
from mlcycle.inference.record import Part, Record

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def enlarge(album: Path, count: int) -> None:
    """Adds so many images to an album: its own again and again, as links."""
    (album / "more").mkdir()
    for number in range(count):
        original = ("one.jpg", "none.jpg", "inside/two.png")[number % 3]
        (album / "more" / f"{number:03d}{Path(original).suffix}").hardlink_to(album / original)


def test_a_run_has_a_record_each_sorted_and_a_summary(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = mlcycle("infer", "dir", album, "--model", tiny, "--out", run)
    assert (outcome.code, outcome.out) == (3, "")
    assert "4 images in all, 1 failed" in outcome.err
    assert [(each["input"], each["status"]) for each in lines(run)] == [
        ("broken.jpg", "error"),
        ("inside/two.png", "ok"),
        ("none.jpg", "empty"),
        ("one.jpg", "ok"),
    ]
    summary = json.loads((run / "summary.json").read_text())
    counts = {name: summary[name] for name in ("images", "ok", "empty", "error", "faces", "errors")}
    assert counts == {"images": 4, "ok": 2, "empty": 1, "error": 1, "faces": 3, "errors": {"not-an-image": 1}}
    assert summary["last_part"]["milliseconds_an_image"].keys() == {"read", "decode", "resize", "run", "select"}


def test_a_run_is_never_begun_over_another_thing(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    assert mlcycle(*arguments).code == 3
    before = contents(run)
    refused = mlcycle(*arguments)
    assert refused.code == 3
    assert "already has a run" in refused.err
    assert contents(run) == before
    (album / "broken.jpg").unlink()
    anew = mlcycle(*arguments, "--overwrite")
    assert (anew.code, len(lines(run))) == (0, 3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").touch()
    assert "not a run folder" in mlcycle(*arguments[:-1], tmp_path / "full").err


def test_only_what_is_missing_is_looked_at(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    assert mlcycle(*arguments, "--resume").code == 3  # where there is none, one is begun
    (album / "new.png").hardlink_to(album / "inside" / "two.png")
    outcome = mlcycle(*arguments, "--resume")
    assert "4 images already finished" in outcome.err
    assert "1 image, 2 faces, 0 failed" in outcome.err
    assert outcome.code == 3  # the broken one is broken still
    assert [each["input"] for each in lines(run)] == [
        "broken.jpg",
        "inside/two.png",
        "new.png",
        "none.jpg",
        "one.jpg",
    ]


def test_failed_ones_are_done_again(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    mlcycle(*arguments)
    Image.new("RGB", (20, 20)).save(album / "broken.jpg")
    assert "0 images, 0 faces" in mlcycle(*arguments, "--resume").err
    outcome = mlcycle(*arguments, "--retry-failed")
    assert outcome.code == 0
    assert "1 failed image will be processed again" in outcome.err
    assert [each["status"] for each in lines(run)] == ["empty", "ok", "empty", "ok"]


def test_a_run_is_not_gone_on_with_under_other_settings(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    arguments = ("infer", "dir", album, "--model", tiny, "--out", tmp_path / "run")
    mlcycle(*arguments)
    outcome = mlcycle(*arguments, "--resume", "--threshold", "0.7")
    assert outcome.code == 2
    assert "started with threshold 0.5, not 0.7" in outcome.err
    outcome = mlcycle(*arguments, "--resume", "--redact", "blur", tmp_path / "copies")
    assert outcome.code == 2
    assert not (tmp_path / "copies").exists()


def test_shards_together_are_the_whole(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_a_shard_that_is_none_is_refused(mlcycle: Run, album: Path, tiny: Path, shard: str) -> None:
    outcome = mlcycle("infer", "dir", album, "--model", tiny, f"--shard={shard}")
    assert outcome.code == 2
    assert "is not a part" in outcome.err


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


def test_a_second_process_is_refused_and_a_damaged_ledger_told(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run)
    mlcycle(*arguments)
    holder = [sys.executable, "-c", f"""
import sys; from pathlib import Path; from mlcycle.inference.batch import ledger
book = ledger.resume(Path({str(run)!r})); print("held", flush=True); sys.stdin.read()
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
def test_stopped_by_a_signal_it_says_how_to_go_on(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    enlarge(album, 3000)
    run = tmp_path / "run"
    words = ["infer", "dir", str(album), "--model", str(tiny), "--out", str(run)]
    command = [sys.executable, "-m", "mlcycle", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        log = run / f"{ledger.NAME}-wal"
        while not (log.exists() and log.stat().st_size > 100_000):  # some records are in it
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == code
    assert "continue with the same command and --resume" in said
    assert not (run / "records.jsonl").exists()
    book = ledger.resume(run)
    assert book is not None
    assert 0 < len(book) < 3000
    book.close()


def test_a_full_disk_is_told_and_the_run_can_be_gone_on_with(tmp_path: Path) -> None:
    book = ledger.begin(tmp_path, {"landmarks": []})
    try:
        (pages,) = book._database.execute("pragma page_count").fetchone()
        book._database.execute(f"pragma max_page_count = {pages + 20}")  # as full as a disk can be told to be
        with pytest.raises(ledger.InputError, match="is full"):
            add_many(book)
        book._database.execute(f"pragma max_page_count = {pages + 10_000}")
    finally:
        book.close()
    again = ledger.resume(tmp_path)
    assert again is not None
    whole = [json.loads(text)["input"] for (text,) in again._database.execute("select line from records")]
    assert len(whole) == len(again) > 100
    again.add(Record("one more.jpg"))
    again.close()


def add_many(book: ledger.Ledger) -> None:
    for number in range(10_000):
        book.add(Record(f"{number}.jpg"))


def test_pages_and_odd_names_are_told_apart(tmp_path: Path) -> None:
    book = ledger.begin(tmp_path, {"landmarks": []})
    records = [Record("a.tif", part=Part("page", number, 3)) for number in (3, 1, 2)]
    records += [Record(os.fsdecode(b"\xff\n.jpg")), Record("a.tif2"), Record("a.tif", part=Part("page", 2, 3))]
    for record in records:
        book.add(record)
    book.commit()
    found = [(record.input, record.part and record.part.number) for record in book.records()]
    assert found == [("a.tif", 1), ("a.tif", 2), ("a.tif", 3), ("a.tif2", None), (os.fsdecode(b"\xff\n.jpg"), None)]
    assert book.has((b"\xff\n.jpg", 0))
    assert not book.has((b"a.tif", 0))
    book.close()


def test_a_ledger_that_was_not_begun_to_the_end_is_begun_again(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    sqlite3.connect(run / ledger.NAME).execute("pragma journal_mode = wal").connection.close()
    (run / ledger.NAME).touch()
    assert mlcycle("infer", "dir", album, "--model", tiny, "--out", run, "--resume").code == 3
    assert len(lines(run)) == 4


def test_killed_and_gone_on_with_it_is_the_same(album: Path, tiny: Path, tmp_path: Path) -> None:
    enlarge(album, 30)
    kill_and_compare(album, tiny, tmp_path, kills=2)


@pytest.mark.slow
def test_killed_many_times_it_is_the_same(album: Path, tiny: Path, tmp_path: Path) -> None:
    enlarge(album, 240)
    kill_and_compare(album, tiny, tmp_path, kills=40)


def kill_and_compare(album: Path, tiny: Path, tmp_path: Path, kills: int) -> None:
    """Kills the command at random points so many times; then lets it end, and compares all files."""

    def arguments(name: str) -> list[str]:
        copies = ["--redact", "blur", f"{name}/redacted", "--annotate", f"{name}/drawn"]
        return ["infer", "dir", str(album), "--model", str(tiny), "--out", f"{name}/run", *copies]

    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    draw = random.Random(kills)
    started = time.monotonic()
    command = [sys.executable, "-m", "mlcycle", *arguments("../whole")]
    subprocess.run(command, cwd=tmp_path / "whole", env=environment(), capture_output=True, check=False)
    took = time.monotonic() - started
    killed = 0
    while killed < kills:
        command = [sys.executable, "-m", "mlcycle", *arguments("../broken"), "--resume"]
        with subprocess.Popen(
            command, cwd=tmp_path / "broken", env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(draw.uniform(0.3, 0.9) * took / (1 if kills < 10 else 3))
            process.kill()
        killed += 1
    command = [sys.executable, "-m", "mlcycle", *arguments("../broken"), "--resume"]
    done = subprocess.run(
        command, cwd=tmp_path / "broken", env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    for name in ("redacted", "drawn"):
        assert contents(tmp_path / "broken" / name) == contents(tmp_path / "whole" / name)
    records = [
        (tmp_path / name / "run" / "records.jsonl").read_bytes().replace(b"../whole", b"../broken")
        for name in ("broken", "whole")
    ]
    assert records[0] == records[1]
