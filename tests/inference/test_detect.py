"""Detection in one image, from the file to the faces: the result is known to the pixel for every orientation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_model import BLUE, GREEN, write_tiny_model

from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images
from mlcycle.inference.detect import DetectOptions, Detector, load_detector
from mlcycle.inference.sources import Source, from_folder

pytest_plugins = ("tiny_album",)

FACE = (300, 40, 380, 150)
ORIENTATION = 0x0112
# EXIF orientation → the transformation of the upright image to the stored one.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_all_orientations_give_the_box_of_the_upright_image(
    orientation: int, suffix: str, tmp_path: Path, pixels: np.ndarray, detector: Detector
) -> None:
    path = tmp_path / f"image{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
    stored.save(path, exif=exif, quality=95)
    record = detector.detect_file(path)
    assert (record.width, record.height) == (512, 400)
    assert record.boxes_N4 == pytest.approx(np.array([FACE], np.float32), abs=1.01)


def test_boxes_are_in_pixels_of_the_original_image(tmp_path: Path, pixels: np.ndarray) -> None:
    detector = load_detector(write_tiny_model(tmp_path / "small.onnx", long_side=128), provider="cpu")
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    record = detector.detect_file(tmp_path / "photo.png")
    assert record.boxes_N4 == pytest.approx(np.array([FACE], np.float32), abs=4.01)  # an input's pixel is four wide
    exact = detector.detect_file(tmp_path / "photo.png", long_sides=(0,))
    assert exact.boxes_N4.tolist() == [list(FACE)]
    assert exact.landmarks_N52 is not None
    assert exact.landmarks_N52[0, 0] == pytest.approx([300 + 0.3 * 80, 40 + 0.4 * 110])


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("times", "decoded"), [(None, 512), (2.1, 512), (2, 256), (1, 128)])
def test_large_jpegs_are_decoded_at_a_reduced_scale_if_the_contract_allows_it(
    orientation: int, times: float | None, decoded: int, tmp_path: Path, pixels: np.ndarray, monkeypatch: Any
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
    stored.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    model = write_tiny_model(tmp_path / "tiny.onnx", long_side=128, reduced_jpeg=times)
    seen = []
    shrink = letterbox.shrink
    monkeypatch.setattr(letterbox, "shrink", lambda image, *rest: seen.append(image.size) or shrink(image, *rest))
    source = Source(tmp_path / "photo.jpg", "photo.jpg", copies={"redacted": tmp_path / "copy.jpg"})
    (record,) = load_detector(model, provider="cpu").detect_batch([source])
    assert seen == [(decoded, decoded * 400 // 512)]
    assert (record.width, record.height) == (512, 400)
    assert record.boxes_N4 == pytest.approx(np.array([FACE], np.float32), abs=4.01)
    with Image.open(tmp_path / "copy.jpg") as copy:
        assert copy.size == (512, 400)


def test_a_copy_that_exceeds_the_memory_gives_an_error_and_the_faces(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: Any
) -> None:
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=95)
    detector = load_detector(write_tiny_model(tmp_path / "tiny.onnx", long_side=128, reduced_jpeg=2), provider="cpu")
    decode = images.decode

    def decode_small_ones(data: bytes, max_pixels: int, min_side: float | None = None) -> images.Decoded:
        if min_side is None:
            raise MemoryError
        return decode(data, max_pixels, min_side)

    monkeypatch.setattr(images, "decode", decode_small_ones)
    sources = [Source(tmp_path / "photo.jpg", "a", copies={"redacted": tmp_path / "a.jpg"})]
    sources += [Source(tmp_path / "photo.jpg", "b")]
    with_copy, without = detector.detect_all(sources)
    assert with_copy.error is not None
    assert (with_copy.error[0], len(with_copy.scores_N), with_copy.copies) == ("too-large", 1, {})
    assert not (tmp_path / "a.jpg").exists()
    assert without.status == "ok"


def test_the_default_threshold_is_the_models_balanced_one(
    tmp_path: Path, pixels: np.ndarray, detector: Detector
) -> None:
    faint_HW3 = pixels.copy()
    faint_HW3[40:150, 300:380] = pixels[200:310, 300:380]
    faint_HW3[40:150:3, 300:380] = GREEN  # a third of the box: a score of about 0.34
    Image.fromarray(faint_HW3).save(tmp_path / "photo.png")
    assert detector.detect_file(tmp_path / "photo.png").status == "empty"
    assert detector.detect_file(tmp_path / "photo.png", threshold=0.3).status == "ok"


def test_good_and_bad_images_give_one_record_each_in_order(album: Path, detector: Detector) -> None:
    records = list(detector.detect_all(from_folder(album)))
    assert [(record.input, record.status) for record in records] == [
        ("broken.jpg", "error"),
        ("inside/two.png", "ok"),
        ("none.jpg", "empty"),
        ("one.jpg", "ok"),
    ]
    assert records[0].error == ("not-an-image", "it is not an image of a known format")
    assert [len(record.scores_N) for record in records] == [0, 2, 0, 1]
    assert list(records[1].milliseconds) == ["read", "decode", "resize", "run", "select"]


def test_faces_are_sorted_by_score(tmp_path: Path, pixels: np.ndarray, detector: Detector) -> None:
    two_HW3 = pixels.copy()
    two_HW3[41:150:2, 300:380] = pixels[200:255, 300:380]  # half of the green box, which the graph computes first
    two_HW3[300:340, 40:100] = BLUE
    Image.fromarray(two_HW3).save(tmp_path / "photo.png")
    record = detector.detect_file(tmp_path / "photo.png")
    assert record.scores_N.tolist() == pytest.approx([1, 0.5], abs=0.01)
    assert record.boxes_N4[0].tolist() == [40, 300, 100, 340]


def test_smaller_images_in_a_batch_are_not_affected(detector: Detector, pixels: np.ndarray) -> None:
    # The file format requires this; checked for the tiny model, because other tests depend on it.
    images_BHW3 = np.zeros((2, 600, 700, 3), np.uint8)
    images_BHW3[1, : pixels.shape[0], : pixels.shape[1]] = pixels
    boxes_BN4, scores_BN, _ = detector.session.run(images_BHW3)
    assert scores_BN.tolist() == [[0], [1]]
    assert boxes_BN4[1].tolist() == [list(FACE)]


def test_max_pixels_limits_the_image(album: Path, detector: Detector) -> None:
    (record,) = detector.detect_all([Source(album / "one.jpg", "one.jpg")], DetectOptions(max_pixels=1000))
    assert record.error is not None
    assert record.error[0] == "too-large"


def test_a_model_without_landmarks_gives_no_landmarks(tmp_path: Path, album: Path) -> None:
    detector = load_detector(write_tiny_model(tmp_path / "plain.onnx", landmarks=False), provider="cpu")
    record = detector.detect_file(album / "one.jpg")
    assert record.landmarks_N52 is None
    assert "landmarks" not in record.as_dict()["faces"][0]
