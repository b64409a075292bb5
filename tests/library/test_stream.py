"""`model.stream`: in order, one result for each input, failures as results, and memory that does not grow."""

from __future__ import annotations

import io
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mlcycle

data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def model():
    return mlcycle.load("face-nano")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_inputs_and_failures_are_results(model, astronaut, workers):
    whole = data.astronaut()
    inputs = ["missing.jpg", astronaut, 42, whole, b"", "https://example.org/a.jpg", astronaut.read_bytes()]
    results = list(model.stream(inputs, workers=workers))
    codes = ["not-found", None, "unsupported", None, "empty", "unsupported", None]
    assert [each.to_dict()["error"] and each.to_dict()["error"]["code"] for each in results] == codes
    assert [len(each) for each in results] == [0, 1, 0, 1, 0, 0, 1]
    for each, code in zip(results, codes, strict=True):
        assert isinstance(each.error, mlcycle.MlcycleError) == (code is not None)
    assert "missing.jpg" in str(results[0].error)
    assert results[0].image_size == (0, 0)
    np.testing.assert_allclose(results[1].boxes, model(astronaut).boxes, atol=0.01)


def test_what_failed_gives_no_image_that_could_be_taken_for_a_redacted_one(model):
    (failed,) = model.stream([b"no image"])
    for make in (failed.redact, failed.draw, failed.crops):
        with pytest.raises(mlcycle.UnreadableError):
            make()


@pytest.mark.parametrize("workers", [1, 2])
def test_inputs_are_taken_as_they_are_needed_and_let_go(model, workers):
    """An endless stream of images: few of them are ever there at once."""
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def endless():
        nonlocal most
        while True:
            image = np.zeros((16, 16, 3), np.uint8)
            alive.append(weakref.ref(image))
            most = max(most, sum(each() is not None for each in alive))
            yield image
            del image

    stream = model.stream(endless(), workers=workers)
    for _ in range(120):
        next(stream)
    stream.close()
    assert most <= 10 * workers + 2
    assert len(alive) <= 120 + 10 * workers + 2


def test_closing_a_stream_ends_its_threads(model):
    before = threading.active_count()
    stream = model.stream([np.zeros((16, 16, 3), np.uint8)] * 50, workers=3)
    next(stream)
    stream.close()
    assert threading.active_count() == before


PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    "one",
    [
        "photo.jpg",
        b"bytes",
        bytearray(b"bytes"),
        io.BytesIO(b"bytes"),
        Path("photo.jpg"),
        Image.new("RGB", (4, 4)),
        PIXELS,
    ],
)
def test_one_image_is_not_several(model, one):
    with pytest.raises(mlcycle.UsageError, match="several"):
        model.stream(one)


def test_a_batch_of_arrays_is_several_images(model):
    assert [each.image_size for each in model.stream(np.zeros((2, 16, 24, 3), np.uint8))] == [(24, 16)] * 2


def test_an_error_of_the_iterable_itself_is_raised(model):
    def broken():
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="camera"):
        list(model.stream(broken(), workers=2))


@pytest.mark.slow
def test_one_pillow_image_may_be_in_several_threads(model, tmp_path):
    Image.fromarray(data.astronaut()).resize((1024, 1024)).save(tmp_path / "large.jpg")
    for _ in range(10):
        with Image.open(tmp_path / "large.jpg") as image:  # not loaded before the threads do it
            assert [each.error for each in model.stream([image] * 6, workers=6)] == [None] * 6


def test_several_threads_may_call_one_model(model, astronaut):
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(model(astronaut)))) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [1] * 6
