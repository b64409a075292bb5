"""Limits of decoding: far above those of real images, and the same for a mapped file."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from odd_files import encoded, encoded_images, tiff
from PIL import Image

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import images, layout, limits

pytest_plugins = ("tiny_album",)


def test_real_images_are_far_below_the_limits(pixels: np.ndarray) -> None:
    for data in encoded_images(pixels[::2, ::2]).values():
        limits.check_file(data)
    segments = layout.jpeg_segments(encoded(Image.fromarray(pixels), "JPEG", progressive=True))
    assert 6 <= sum(marker == layout.JPEG_SCAN for marker, _, _ in segments) <= 12


def test_scan_markers_after_the_image_or_in_its_thumbnail_are_not_counted(pixels: np.ndarray) -> None:
    thumbnail = b"\xff\xe1" + (2 + 6 + 400).to_bytes(2) + b"thumb\0" + b"\xff\xda" * 200
    image = encoded(Image.fromarray(pixels), "JPEG", progressive=True)
    video = b"\xff\xda" * 500  # phones append one
    data = image[:2] + thumbnail + image[2:] + video
    assert np.array_equal(np.asarray(images.decode(data).image), np.asarray(images.decode(image).image))


def test_tags_are_checked_without_reading_the_file(tmp_path: Path) -> None:
    path = tmp_path / "strips.tif"
    path.write_bytes(tiff({256: [9], 273: [8] * 200_001}, bytes(8)))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert len(list(layout.tiff_directories(view))) == 1
        with pytest.raises(UnreadableError, match="more than 200,000"):
            limits.check_tags(view)


@pytest.mark.slow
def test_pages_are_counted_to_the_end_of_their_chain(pixels: np.ndarray) -> None:
    files = encoded_images(pixels)
    for name, count in {"pages.tif": 3, "big.tif": 1, "tiles.tif": 1}.items():
        assert len(list(layout.tiff_directories(files[name]))) == count
        assert len(list(layout.tiff_directories(files[name][:100]))) <= 1
    assert layout.gif_frames(files["animated.gif"])[0] == 3
