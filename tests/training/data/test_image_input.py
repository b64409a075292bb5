"""How training reads an image: the same pixels as inference for every format, and the right size from the header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from deep_greys import grey_png, grey_tiff, packed_tiff

from mlcycle.datasets.image_header import upright_size as size_by_labels
from mlcycle.errors import DataError
from mlcycle.inference.decoding import images
from mlcycle.training.data.image_input import open_image, upright_rgb, upright_size

pytestmark = pytest.mark.training


def kinds(astronaut: Path) -> dict[str, Image.Image]:
    image = Image.open(astronaut).convert("RGB").resize((96, 64))
    grey = np.asarray(image.convert("L"))
    clear = image.copy()
    clear.putalpha(Image.fromarray(np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)))
    return {
        "grey.png": image.convert("L"),
        "one-bit.png": image.convert("1"),
        "cmyk.jpg": image.convert("CMYK"),
        "sixteen.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "wide.tiff": Image.fromarray(grey.astype(np.int32) * 200),
        "twelve.png": Image.fromarray(grey.astype(np.uint16) * 16),
        "ten.tiff": Image.fromarray(grey.astype(np.float32) * 4),
        "fractions.tiff": Image.fromarray(grey.astype(np.float32) / 255),
        "clear.png": clear,
        "clear-grey.png": clear.convert("LA"),
        "palette.png": clear.convert("RGBA").quantize(32),
        "lab.tiff": image.convert("LAB"),
    }


def test_every_pixel_format_is_read_as_in_inference(tmp_path: Path, astronaut: Path) -> None:
    for name, image in kinds(astronaut).items():
        image.save(tmp_path / name)
        one = np.asarray(upright_rgb(open_image(tmp_path / name)))
        other = np.asarray(images.decode(images.read(tmp_path / name)).upright())
        assert np.array_equal(one, other), name


def test_significant_bits_and_white_is_zero_are_read_as_in_inference(tmp_path: Path, astronaut: Path) -> None:
    grey_HW = np.asarray(Image.open(astronaut).convert("L").resize((96, 64))).astype(np.uint16)
    files = {
        "bits.png": grey_png(grey_HW * 4, sbit=12),
        "scaled.png": grey_png(grey_HW * 257, sbit=12),
        "negative.tif": grey_tiff(4095 - grey_HW * 16, photometric=0),
        "packed.tif": packed_tiff(grey_HW * 16),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        one = np.asarray(upright_rgb(open_image(tmp_path / name)))
        assert np.array_equal(one, np.asarray(images.decode(data).upright())), name
    assert np.array_equal(one[..., 0], grey_HW)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_the_size_from_the_header_is_that_of_the_upright_image(
    tmp_path: Path, astronaut: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{suffix}"
    Image.open(astronaut).convert("RGB").resize((96, 64)).save(path, exif=exif)
    expected = upright_rgb(open_image(path)).size
    assert expected == ((64, 96) if orientation in (5, 6, 7, 8) else (96, 64))
    assert upright_size(open_image(path)) == size_by_labels(path) == expected


@pytest.mark.parametrize("content", [b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_a_file_that_is_not_an_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"photo\.jpg"):
        upright_rgb(open_image(path))
