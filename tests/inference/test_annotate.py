"""Annotated copies: where they go, what is drawn, and what is not carried along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlcycle.inference.annotate import draw, plan, save


def test_no_two_copies_share_a_name(tmp_path: Path) -> None:
    keys = ["a.jpg", "A.JPG", "a.jpg", "a.tif", "a.tif.png", "in/a.jpg", "noend", "../../up.jpg", "/abs/x.png"]
    names = [path.relative_to(tmp_path).as_posix() for path in plan(keys, tmp_path)]
    assert names == [
        "a.jpg",
        "A-2.JPG",
        "a-3.jpg",
        "a.tif.png",
        "a.tif-2.png",
        "in/a.jpg",
        "noend.png",
        "up.jpg",
        "abs/x.png",
    ]


def test_boxes_are_drawn_where_they_are_and_the_original_stays(tmp_path: Path) -> None:
    image = Image.new("RGB", (400, 300), "white")
    box_14 = np.array([[100, 80, 200, 220]], np.float32)
    points_152 = np.array([[[130, 120], [170, 120], [150, 150], [135, 180], [165, 180]]], np.float32)
    drawn_HW3 = np.asarray(draw(image, box_14, np.array([0.9]), points_152))
    changed_HW = (drawn_HW3 != 255).any(axis=2)
    rows, columns = np.nonzero(changed_HW)
    assert (columns.min(), columns.max(), rows.max()) == (100, 199, 219)
    assert 50 < rows.min() < 80  # the label stands above the box
    assert changed_HW[150, 150]
    assert not changed_HW[100, 150]
    assert (np.asarray(image) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (4000, 3)])
def test_odd_sizes_and_boxes_can_be_drawn_on(size: tuple[int, int]) -> None:
    boxes_N4 = np.array([[0, 0, *size], [0, 0, 0, 0], [size[0], size[1], size[0], size[1]]], np.float32)
    assert draw(Image.new("RGB", size), boxes_N4, np.array([0.9, 0.8, 0.7]), None).size == size


def test_a_copy_carries_no_metadata(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    Image.new("RGB", (8, 8)).save(source, exif=exif, comment=b"secret", icc_profile=b"profile")
    with Image.open(source) as image:
        image.load()
        for name in ("copy.jpg", "copy.png"):
            save(image, tmp_path / name)
            with Image.open(tmp_path / name) as copy:
                copy.load()
                assert not dict(copy.getexif())
                assert not {"exif", "comment", "icc_profile", "xmp"} & set(copy.info)


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    image = Image.new("RGB", (8, 8))
    with pytest.raises(FileExistsError):
        save(image, path)
    assert path.read_bytes() == b"mine"
    save(image, path, overwrite=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
