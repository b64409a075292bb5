"""Worker threads: results in order, a bounded number of items in work, and the same records as one by one."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image

from mlcycle.inference.batch import worker_threads
from mlcycle.inference.detect import DetectOptions, Detector
from mlcycle.inference.sources import from_folder

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def test_results_are_in_order_even_if_the_first_is_finished_last() -> None:
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(30)
        if number == 5:
            first_may_end.set()
        return number * number

    assert list(worker_threads.ordered_map(work, range(12), 2)) == [number * number for number in range(12)]


def test_a_finished_result_does_not_wait_for_later_ones() -> None:
    last_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 7:
            assert last_may_end.wait(30)
        return number

    results = worker_threads.ordered_map(work, range(8), 2)
    for number in range(6):
        assert next(results) == number
    last_may_end.set()
    assert list(results) == [6, 7]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_items_are_fetched_only_as_results_are_taken(count: int) -> None:
    fetched = 0

    def items() -> Iterator[int]:
        nonlocal fetched
        for number in range(1000):
            fetched += 1
            yield number

    results = worker_threads.ordered_map(lambda number: number, items(), count)
    for number in range(20):
        assert next(results) == number
        assert fetched <= number + 1 + worker_threads.MAX_WAITING_RESULTS * count
    results.close()  # type: ignore[attr-defined]
    assert fetched < 100


def test_an_error_is_raised_in_place_of_its_result_and_stops_the_work() -> None:
    started = []

    def work(number: int) -> int:
        started.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    results = worker_threads.ordered_map(work, range(1000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(started) < 100


@pytest.mark.parametrize("threshold", [None, 0.0, 0.7])
@pytest.mark.parametrize(("count", "batch"), [(1, 3), (3, 1), (2, 4)])
def test_threads_and_batches_do_not_change_the_records(
    album: Path, detector: Detector, count: int, batch: int, threshold: float | None
) -> None:
    for size in (300, 301):
        Image.new("RGB", (size, 200), (0, 255, 0)).save(album / f"green-{size}.png")
    # An image with one face next to one with two faces of the same size: in a batch it is padded to two rows.
    shutil.copy(album / "one.jpg", album / "inside" / "three.jpg")
    sources = list(from_folder(album)) * 3
    single, batched = (
        [record.as_dict() | {"milliseconds": 0} for record in detector.detect_all(sources, options)]
        for options in (
            DetectOptions(threshold=threshold),
            DetectOptions(threshold=threshold, workers=count, batch=batch),
        )
    )
    assert batched == single
    assert {record["status"] for record in batched} == {"ok", "empty", "error"}


def test_padding_rows_of_a_batch_are_not_faces_at_threshold_0(mlcycle: Run, tmp_path: Path) -> None:
    from skimage import data

    Image.fromarray(data.astronaut()).save(tmp_path / "a.png")
    Image.new("RGB", (512, 512)).save(tmp_path / "b.png")
    words = ("infer", "dir", tmp_path, "--model", "face-nano", "--threshold", "0", "--format", "jsonl")
    for batch in (1, 2):
        records = [
            json.loads(line) for line in mlcycle(*words, "--threads", "1", "--batch", str(batch)).out.splitlines()
        ]
        assert [bool(record["faces"]) for record in records] == [True, False]
        assert all(face["score"] > 0 for face in records[0]["faces"])


def test_a_batch_that_the_model_fails_on_is_run_one_by_one(
    album: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = type(detector.session).run
    sizes = []

    def fail_on_many(session: object, images_BHW3: np.ndarray) -> object:
        sizes.append(len(images_BHW3))
        if len(images_BHW3) > 1:
            raise RuntimeError("memory ran out")
        return run(session, images_BHW3)  # type: ignore[arg-type]

    monkeypatch.setattr(type(detector.session), "run", fail_on_many)
    sources = [source for source in from_folder(album) if source.key == "one.jpg"] * 3
    records = list(detector.detect_all(sources, DetectOptions(batch=3)))
    assert sizes == [3, 1, 1, 1]
    assert [record.status for record in records] == ["ok"] * 3


def test_the_command_gives_the_same_records_on_one_and_on_several_threads(
    mlcycle: Run, album: Path, tiny: Path
) -> None:
    outputs = []
    for threads, batch in ((1, 1), (3, 2)):
        words = ("--format", "jsonl", "--threads", str(threads), "--batch", str(batch))
        outcome = mlcycle("infer", "dir", album, "--model", tiny, *words)
        assert outcome.code == 3
        outputs.append([json.loads(line) | {"milliseconds": 0} for line in outcome.out.splitlines()])
    assert outputs[0] == outputs[1]
