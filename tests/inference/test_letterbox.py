"""The contract's resize rule and its inverse transform."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mlcycle.inference.letterbox import Frame, boxes_to_image, shrink, to_image


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((1000, 500), 640, (640, 320)),
        ((333, 999), 640, (213, 640)),
        ((640, 480), 640, (640, 480)),
        ((100, 50), 640, (100, 50)),
        ((1, 10_000), 640, (1, 640)),
        ((3000, 2000), 0, (3000, 2000)),
        ((1281, 3), 640, (640, 1)),
        ((1280, 5), 640, (640, 3)),  # 2.5 rounds up, where Python's round() would go to 2
    ],
)
def test_size_of_the_input(size: tuple[int, int], long_side: int, expected: tuple[int, int]) -> None:
    input_HW3, frame = shrink(Image.new("RGB", size), long_side)
    assert input_HW3.shape == (expected[1], expected[0], 3)
    assert frame == Frame(*size, *expected)


def test_shrinking_is_antialiased() -> None:
    # Stripes finer than the input's pixels must become grey; a filter over only two pixels would keep them.
    stripes_HW3 = np.zeros((400, 400, 3), np.uint8)
    stripes_HW3[:, ::2] = 255
    input_HW3, _ = shrink(Image.fromarray(stripes_HW3), 100)
    assert np.abs(input_HW3[:, 2:-2].astype(int) - 127).max() <= 2


def test_the_inverse_transform_scales_each_axis_separately_and_clips() -> None:
    frame = Frame(width=1281, height=3, input_width=640, input_height=1)
    boxes_N4 = np.array([[-5, 0, 320, 0.5], [600, 0.5, 700, 2]], np.float32)
    assert boxes_to_image(boxes_N4, frame) == pytest.approx(
        np.array([[0, 0, 640.5, 1.5], [600 * 1281 / 640, 1.5, 1281, 3]], np.float32)
    )
    assert to_image(np.array([[[320.0, 0.5]]]), frame) == pytest.approx(np.array([[[640.5, 1.5]]]))


def test_no_boxes_stay_no_boxes() -> None:
    assert boxes_to_image(np.zeros((0, 4), np.float32), Frame(10, 10, 5, 5)).shape == (0, 4)
