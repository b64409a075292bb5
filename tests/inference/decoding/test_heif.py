"""HEIC images: rotated exactly once, refused by their headers, and an install hint without the package."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_detect import FACE, ORIENTATION, STORED
from test_images import code_of, encoded

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding.images import decode
from mlcycle.inference.detect import DetectOptions, Detector
from mlcycle.inference.record import Source
from mlcycle.inference.sources import from_folder

pytest_plugins = ("tiny_album",)


@pytest.fixture(autouse=True)
def _writer() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    Image.ID.remove("HEIF")  # registered to write files; reading must not need it


def saved(image: Image.Image, **options: object) -> bytes:
    return encoded(image, "HEIF", enc_params={"preset": "ultrafast"}, **options)


@pytest.mark.parametrize("orientation", STORED)
def test_all_orientations_give_the_box_of_the_upright_image(
    orientation: int, tmp_path: Path, pixels: np.ndarray, detector: Detector
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
    # If passed as bytes, the orientation is also written as the container's rotation, as phones do.
    data = saved(stored, exif=exif.tobytes(), quality=90)
    assert (b"irot" in data or b"imir" in data) == (orientation != 1)
    (tmp_path / "image.HEIC").write_bytes(data)
    record = detector.detect_file(tmp_path / "image.HEIC")
    assert (record.width, record.height) == (512, 400)
    assert record.boxes_N4 == pytest.approx(np.array([FACE], np.float32), abs=2.01)


def test_an_orientation_in_exif_alone_is_ignored(pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = saved(Image.fromarray(pixels), exif=exif)  # not as bytes: then the writer does not parse it
    assert b"irot" not in data
    assert decode(data).upright().size == (512, 400)


def test_grey_and_transparent_images_are_read(pixels: np.ndarray) -> None:
    grey = Image.fromarray(pixels).convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for image in (grey, wide):
        seen_HW = np.asarray(decode(saved(image, quality=90)).upright()).mean(axis=2)
        assert np.abs(seen_HW - np.asarray(grey)).mean() < 5
    clear = Image.new("RGBA", (64, 64), (10, 10, 10, 0))
    assert np.asarray(decode(saved(clear)).upright()).min() > 250


def test_the_primary_of_several_images_is_used_and_noted() -> None:
    first, rest = Image.new("RGB", (64, 48), "red"), [Image.new("RGB", (48, 64), "blue")]
    decoded = decode(saved(first, save_all=True, append_images=rest, primary_index=1))
    assert (decoded.image.size, decoded.note) == ((48, 64), "primary of 2 images")


def test_damaged_files_have_their_code(pixels: np.ndarray) -> None:
    data = saved(Image.fromarray(pixels))
    assert code_of(data[: len(data) // 2]) == "truncated"
    assert code_of(data[:300]) in ("damaged", "truncated")
    assert code_of(b"\x00\x00\x00\x18ftypheic" + bytes(200)) == "damaged"


def test_a_file_that_is_too_large_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    import pillow_heif

    def decoded(self: object) -> None:
        raise AssertionError("it was decoded")

    data = saved(Image.new("RGB", (640, 480)))
    monkeypatch.setattr(pillow_heif.HeifImageFile, "load", decoded)
    assert code_of(data, max_pixels=1000) == "too-large"


def test_without_the_package_the_error_has_the_install_command(
    pixels: np.ndarray, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(Image.fromarray(pixels))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableError) as caught:
        decode(data)
    assert caught.value.code == "unsupported"
    assert "the extra heif" in caught.value.message
    (record,) = detector.detect_all([Source(Path("a.heic"), "a.heic", data=data)], DetectOptions())
    assert record.error == ("unsupported", caught.value.message)


def test_avif_is_read_by_pillow(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = encoded(Image.fromarray(pixels), "AVIF")
    for brand in (b"avif", b"mif1"):  # some writers list the container's brand first, then AVIF
        assert decode(data[:8] + brand + data[12:]).image.size == (512, 400)


def test_heic_files_in_a_folder_are_images(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIF", "c.hif", "d.txt"):
        (tmp_path / name).write_bytes(io.BytesIO().getvalue())
    assert [source.key for source in from_folder(tmp_path)] == ["a.heic", "b.HEIF", "c.hif"]
