"""The drawing on annotated copies."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mlcycle.inference.copies.annotate import draw


def test_boxes_are_drawn_on_a_copy() -> None:
    image = Image.new("RGB", (400, 300), "white")
    box_14 = np.array([[100, 80, 200, 220]], np.float32)
    points_152 = np.array([[[130, 120], [170, 120], [150, 150], [135, 180], [165, 180]]], np.float32)
    drawn_HW3 = np.asarray(draw(image, box_14, np.array([0.9]), points_152))
    changed_HW = (drawn_HW3 != 255).any(axis=2)
    rows, columns = np.nonzero(changed_HW)
    assert (columns.min(), columns.max(), rows.max()) == (100, 199, 219)
    assert 50 < rows.min() < 80  # the label is above the box
    assert changed_HW[150, 150]
    assert not changed_HW[100, 150]
    assert (np.asarray(image) == 255).all()


def test_landmarks_leave_small_faces_visible() -> None:
    box_14 = np.array([[40, 40, 50, 52]], np.float32)
    points_152 = np.array([[[43, 44], [47, 44], [45, 46], [43, 49], [47, 49]]], np.float32)
    drawn_HW3 = np.asarray(draw(Image.new("RGB", (400, 300), "white"), box_14, np.array([0.9]), points_152))
    inside_HW = (drawn_HW3[41:51, 41:49] != 255).any(axis=2)
    assert 5 <= inside_HW.sum() <= 20


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (4000, 3)])
def test_odd_sizes_and_boxes_can_be_drawn_on(size: tuple[int, int]) -> None:
    boxes_N4 = np.array([[0, 0, *size], [0, 0, 0, 0], [size[0], size[1], size[0], size[1]]], np.float32)
    assert draw(Image.new("RGB", size), boxes_N4, np.array([0.9, 0.8, 0.7]), None).size == size
