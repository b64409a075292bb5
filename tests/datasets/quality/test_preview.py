from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_sets import Labelled, astronaut, chelsea, content, save, write_coco

from mlcycle.datasets.quality.preview import (
    CAPTION,
    CELL_HEIGHT,
    CELL_WIDTH,
    FACE,
    GAP,
    IGNORED,
    POINTS,
    choose,
    draw_sheet,
    write_sheet,
)
from mlcycle.datasets.reading import read
from mlcycle.errors import InputError


def _near(pixels, colour, tolerance=12):
    return (np.abs(np.asarray(pixels, int) - colour) <= tolerance).all(axis=-1)


def _cell(sheet):
    """The image part of the first cell."""
    return sheet.crop((GAP, CAPTION + GAP, GAP + CELL_WIDTH, CAPTION + GAP + CELL_HEIGHT))


def test_faces_and_ignored_boxes_are_drawn_in_place(tmp_path):
    images = read(write_coco(tmp_path, content()))[:1]
    images[0].ignore_N[1] = True
    cell = _cell(draw_sheet(images, "title"))
    scale, left = 300 / 512, 50
    rows, columns = np.nonzero(_near(cell, FACE))
    expected = np.array([178, 75, 270, 190]) * scale + [left, 0, left, 0]
    found = [columns.min(), rows.min(), columns.max(), rows.max()]
    np.testing.assert_allclose(found, expected, atol=2)
    rows, columns = np.nonzero(_near(cell, IGNORED, 3))
    assert abs(columns.min() - (300 * scale + left)) <= 2
    assert abs(rows.max() - 70 * scale) <= 2
    # The ignored box is dashed: a part of its outline is not drawn.
    assert len(rows) < 1.5 * (40 + 50) * 2 * scale
    x, y = images[0].landmarks_N52[0, 2] * scale + [left, 0]
    assert _near(cell.getpixel((round(x), round(y))), POINTS[2])


@pytest.mark.parametrize(("height", "dots"), [(8, 0), (14, 5), (30, 5)])
def test_dots_hide_at_most_a_tenth_of_a_face(tmp_path, height, dots):
    """The image is grey and drawn at its own size, so that pixels of the sheet are those of the image."""
    points = 100 + np.array([[0.25, 0.35], [0.55, 0.35], [0.4, 0.55], [0.25, 0.75], [0.55, 0.75]]) * height
    grey, face = Image.new("RGB", (CELL_WIDTH, CELL_HEIGHT), (128, 128, 128)), (100, 100, round(0.8 * height), height)
    labelled = Labelled("x.png", grey, (face,), {0: points})
    inside = np.asarray(_cell(draw_sheet(read(write_coco(tmp_path, [labelled])), "")))[101 : 100 + height, 101:]
    inside = inside[:, : round(0.8 * height) - 1]
    near = [_near(inside, colour, 3) for colour in POINTS]
    assert sum(each.any() for each in near) == dots
    assert np.any(near, axis=0).sum() <= 0.1 * 0.8 * height**2


def test_images_are_drawn_upright(tmp_path):
    folder = write_coco(tmp_path, [Labelled("x.jpg", astronaut().crop((0, 0, 300, 512)))])
    upright = np.asarray(_cell(draw_sheet(read(folder), "")), int)
    save(
        astronaut().crop((0, 0, 300, 512)).transpose(Image.Transpose.ROTATE_90), folder / "images/x.jpg", orientation=6
    )
    rotated = np.asarray(_cell(draw_sheet(read(folder), "")), int)
    assert np.abs(upright - rotated).mean() < 4


def test_an_unreadable_image_gets_a_cell_with_the_reason(tmp_path):
    folder = write_coco(tmp_path, content())
    images = read(folder)
    images[0].path.unlink()
    images[1].path.write_text("no image")
    images[3].boxes_N4[0, 0] = np.nan
    sheet = draw_sheet(images, "a title that is longer than the sheet is wide " * 9)
    assert _near(_cell(sheet), IGNORED, 60).any()


def test_the_same_seed_chooses_the_same_images(tmp_path):
    images = read(write_coco(tmp_path, content()))
    assert choose(images, 3, 1) == choose(images, 3, 1)
    assert choose(images, 9, 1) == images
    chosen = {tuple(image.name for image in choose(images, 2, seed)) for seed in range(20)}
    assert len(chosen) > 3
    assert all(list(names) == sorted(names) for names in chosen)


def test_a_file_is_replaced_only_with_overwrite(tmp_path):
    path = tmp_path / "new" / "sheet.png"
    write_sheet(chelsea(), path)
    with pytest.raises(InputError, match="exists"):
        write_sheet(astronaut(), path)
    assert Image.open(path).size == chelsea().size
    write_sheet(astronaut(), path, overwrite=True)
    assert Image.open(path).size == astronaut().size
    assert [each.name for each in path.parent.iterdir()] == ["sheet.png"]
    with pytest.raises(InputError, match="suffix"):
        write_sheet(chelsea(), tmp_path / "sheet.txt")
