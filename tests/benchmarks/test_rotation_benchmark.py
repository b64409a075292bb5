"""`benchmarks/rotation.py`: where labels move under a rotation, and what counts as found."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scripts import rotation

from mlcycle.datasets.labelled_image import LabelledImage


@pytest.mark.parametrize("angle", [30.0, -45.0, 90.0])
def test_labels_move_with_the_pixels(angle: float) -> None:
    image = Image.new("L", (400, 300))
    ImageDraw.Draw(image).ellipse((220, 60, 280, 140), fill=255)
    rotated = rotation.Rotation(image, angle)
    rows, columns = np.nonzero(np.array(rotated.image) > 128)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    box_14 = rotated.boxes(np.array([[220, 60, 281, 141]], float))
    np.testing.assert_allclose(box_14, [seen], atol=1.5)
    np.testing.assert_allclose(rotated.points(np.array([250.5, 100.5])), (box_14[0, :2] + box_14[0, 2:]) / 2)


def test_a_box_finds_one_face_and_eyes_are_compared() -> None:
    boxes_N4 = np.array([[100, 100, 150, 150], [104, 100, 154, 150], [10, 10, 20, 20]], np.float32)
    points_N52 = np.full((3, 5, 2), np.nan, np.float32)
    points_N52[0, :2] = [[110, 120], [140, 120]]
    label = LabelledImage(path="", name="", boxes_N4=boxes_N4, ignore_N=np.zeros(3, bool), landmarks_N52=points_N52)  # type: ignore[arg-type]
    level_152 = np.zeros((1, 5, 2))
    level_152[0, :2] = [[110, 120], [140, 120]]
    tally = rotation.Tally()
    upright = rotation.Rotation(Image.new("RGB", (300, 300)), 0)
    rotation.count(lambda _: (boxes_N4[:1], level_152), upright, label, np.ones(2), tally)
    # The third face is too small to count, and the one box cannot find two of the others.
    assert (tally.faces, tally.found, tally.errors) == (2, 1, [0.0])
    tally = rotation.Tally()
    turned = rotation.Rotation(Image.new("RGB", (300, 300)), 40)
    found_14 = turned.boxes(boxes_N4[:1]).astype(np.float32)
    rotation.count(lambda _: (found_14, level_152), turned, label, np.ones(2), tally)
    assert tally.errors == pytest.approx([40.0])
