"""Several views of an image: what they cover, and that a face which several of them show is found once."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import BLUE, CONTRACT, GREEN

import mlcycle as library
from mlcycle.inference import views
from mlcycle.inference.detect import Detector

pytest_plugins = ("tiny_album",)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "TILE", 300)
    monkeypatch.setattr(views, "OVERLAP", 100)


def painted(path: Path, size: tuple[int, int], green: tuple[int, ...], blue: tuple[int, ...] = ()) -> Path:
    """Writes a grey image with a face of each colour: x1 y1 x2 y2."""
    pixels_HW3 = np.full((size[1], size[0], 3), 90, np.uint8)
    for box, colour in ((green, GREEN), (blue, BLUE)):
        if box:
            pixels_HW3[box[1] : box[3], box[0] : box[2]] = colour
    Image.fromarray(pixels_HW3).save(path)
    return path


@pytest.mark.parametrize("size", [(301, 90), (300, 1000), (4000, 2999)])
def test_tiles_cover_the_image_and_overlap(size: tuple[int, int], small_tiles: None) -> None:
    *found, whole = views.views_of(size, (0,))
    assert (whole.region, whole.long_side) == ((0, 0, *size), 300)
    assert len(found) > 1
    seen_HW = np.zeros((size[1], size[0]), np.uint8)
    for left, top, right, bottom in (each.region for each in found):
        assert (right - left, bottom - top) == (min(300, size[0]), min(300, size[1]))
        seen_HW[top:bottom, left:right] += 1
    assert seen_HW.min() >= 1
    for first, second in ((0, 2), (1, 3)):
        spans = sorted({(each.region[first], each.region[second]) for each in found})
        assert all(end - start >= 100 for (_, end), (start, _) in pairwise(spans))


def test_scales_of_the_same_size_are_one_view() -> None:
    assert len(views.views_of((600, 400), (640, 0, 2000))) == 1
    assert [each.long_side for each in views.views_of((700, 400), (640, 0))] == [640, 0]


@pytest.mark.parametrize("green", [(180, 20, 260, 90), (150, 40, 310, 290), (0, 0, 410, 240)])
def test_a_face_at_the_border_of_tiles_is_found_once(
    green: tuple[int, ...], detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is larger than the overlap, and the third larger than a tile."""
    path = painted(tmp_path / "wide.png", (500, 300), green, (10, 250, 40, 280))
    whole = detector.detect_file(path, long_sides=(0,))
    monkeypatch.setattr(views, "TILE", 300)
    monkeypatch.setattr(views, "OVERLAP", 100)
    tiled = detector.detect_file(path, long_sides=(0,))
    is_large = green[2] - green[0] > 100  # found in the whole image, which is reduced to the side of a tile
    assert np.allclose(np.sort(tiled.boxes_N4, axis=0), np.sort(whole.boxes_N4, axis=0), atol=2 if is_large else 0)
    assert tiled.landmarks_N52 is not None
    assert (tiled.width, tiled.height) == (500, 300)


def test_a_face_seen_at_two_scales_is_found_once(detector: Detector, tmp_path: Path) -> None:
    path = painted(tmp_path / "two.png", (512, 512), (64, 64, 320, 320), (400, 400, 404, 404))
    at_both = detector.detect_file(path, long_sides=(128, 0))
    assert len(detector.detect_file(path, long_sides=(128,)).boxes_N4) == 1  # the small one vanishes
    assert sorted(at_both.boxes_N4.tolist()) == [[64, 64, 320, 320], [400, 400, 404, 404]]
    assert at_both.landmarks_N52 is not None
    assert at_both.landmarks_N52.shape == (2, 5, 2)


def test_suppression_is_that_of_the_graph() -> None:
    boxes_N4 = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 10, 4.4]], np.float32)
    kept = views.suppress(boxes_N4, np.array([0.6, 0.9, 0.7, 0.5], np.float32), CONTRACT.selection)
    assert kept == [1, 2]  # at most two
    assert views.suppress(boxes_N4[[0, 3]], np.array([0.9, 0.5]), CONTRACT.selection) == [0, 1]  # IoU .44 of .45


def test_the_command_and_the_library_merge_scales(mlcycle, tiny: Path, tmp_path: Path) -> None:
    path = painted(tmp_path / "two.png", (512, 512), (64, 64, 320, 320), (400, 400, 404, 404))
    words = ("infer", path, "--model", tiny, "--format", "csv", "--long-side")
    assert [len(mlcycle(*words, each).out.splitlines()) for each in ("128", "128,original")] == [2, 3]
    model = library.load(tiny, long_side=(128, "original"))
    assert len(model(path)) == len(pickle.loads(pickle.dumps(model))(path)) == 2
    with pytest.raises(library.UsageError, match="is not a size"):
        library.load(tiny, long_side="large")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("640,640", "names a size twice"),
        ("640,big", "not a number of pixels"),
        ("9" * 5000, "not a number of pixels"),
    ],
)
def test_other_sizes_are_refused(value: str, words: str, mlcycle, tiny: Path, album: Path) -> None:
    refused = mlcycle("infer", album / "one.jpg", "--model", tiny, "--long-side", value)
    assert (refused.code, words in refused.err) == (2, True)


def test_a_run_is_resumed_at_the_same_scales_only(mlcycle, tiny: Path, album: Path, tmp_path: Path) -> None:
    words = ("infer", "dir", album, "--model", tiny, "--out", tmp_path / "run", "--long-side")
    assert mlcycle(*words, "320,original").code == 3  # one image is broken
    assert mlcycle(*words, "320,original", "--resume").code == 3
    refused = mlcycle(*words, "320", "--resume")
    assert (refused.code, "long-sides" in refused.err) == (2, True)
