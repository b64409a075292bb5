"""The contract's resize rule, and the way back from the input's pixels to the image's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, slots=True)
class Frame:
    """How an image was laid into an input: both sizes, in pixels."""

    width: int
    height: int
    input_width: int
    input_height: int


def shrink(
    image: Image.Image, long_side: int | tuple[int, int], size: tuple[int, int] | None = None
) -> tuple[np.ndarray, Frame]:
    """Makes an upright RGB image so small that its long side is `long_side` pixels; never larger; 0 keeps its size.

    Where `long_side` is a width and a height, it becomes so small that it fits inside. `size` is the image's own
    width and height, if it was decoded at a reduced scale: what comes out has the size it would have had otherwise.

    The filter is an antialiased triangle: Pillow's BILINEAR, whose support grows with the reduction, over all pixels
    at once (`reducing_gap` gives other pixels).

    Returns input_HW3 (uint8 RGB) and the frame to come back by.
    """
    width, height = size or image.size
    if isinstance(long_side, tuple):
        scale = min(1.0, long_side[0] / width, long_side[1] / height)
    else:
        scale = min(1.0, long_side / max(width, height)) if long_side else 1.0
    size = (max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image), Frame(width, height, *size)


def to_image(points_N2: np.ndarray, frame: Frame) -> np.ndarray:
    """Maps x y (last axis, any number of axes before it) from input pixels to the image's pixels, float32."""
    scale_2 = np.array([frame.width / frame.input_width, frame.height / frame.input_height])
    return (points_N2 * scale_2).astype(np.float32)


def boxes_to_image(boxes_N4: np.ndarray, frame: Frame) -> np.ndarray:
    """Maps boxes x1 y1 x2 y2 from input pixels to the image's pixels, clipped to the image, float32."""
    corners_N22 = to_image(boxes_N4.reshape(-1, 2, 2), frame)
    limit_2 = np.array([frame.width, frame.height], np.float32)
    return np.clip(corners_N22, 0, limit_2).reshape(-1, 4)
