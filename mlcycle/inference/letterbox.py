"""The contract's resize rule, and the inverse transform from input pixels to image pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mlcycle.inference.resampling import reduce


@dataclass(frozen=True, slots=True)
class Frame:
    """The sizes, in pixels, of an image, or of a region at `left` `top` of one, and of the input it was resized to."""

    width: int
    height: int
    input_width: int
    input_height: int
    left: int = 0
    top: int = 0


def shrink(
    image: Image.Image, long_side: int | tuple[int, int], size: tuple[int, int] | None = None
) -> tuple[np.ndarray, Frame]:
    """Reduces an upright RGB image until its long side has `long_side` pixels; never enlarges it; 0 keeps its size.

    If `long_side` is a width and a height, the image is reduced to fit inside. `size` is the original width and height
    of an image decoded at a reduced scale: the input then has the same size as from the full image.

    The filter is an antialiased triangle: Pillow's BILINEAR, whose support grows with the reduction, in one step
    (`reducing_gap` gives other pixels).

    Returns input_HW3 (uint8 RGB) and the frame for the inverse transform.
    """
    width, height = size or image.size
    if isinstance(long_side, tuple):
        scale = min(1.0, long_side[0] / width, long_side[1] / height)
    else:
        scale = min(1.0, long_side / max(width, height)) if long_side else 1.0
    size = (max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5)))
    pixels_HW3 = np.asarray(image) if size == image.size else reduce(image, size)
    return pixels_HW3, Frame(width, height, *size)


def to_image(points_N2: np.ndarray, frame: Frame) -> np.ndarray:
    """Maps x y (last axis, any number of axes before it) from input pixels to the image's pixels, float32."""
    scale_2 = np.array([frame.width / frame.input_width, frame.height / frame.input_height])
    return (points_N2 * scale_2 + (frame.left, frame.top)).astype(np.float32)


def boxes_to_image(boxes_N4: np.ndarray, frame: Frame) -> np.ndarray:
    """Maps boxes x1 y1 x2 y2 from input pixels to the image's pixels, clipped to the image or region, float32."""
    corners_N22 = to_image(boxes_N4.reshape(-1, 2, 2), frame)
    start_2 = np.array([frame.left, frame.top], np.float32)
    limit_2 = start_2 + np.array([frame.width, frame.height], np.float32)
    return np.clip(corners_N22, start_2, limit_2).reshape(-1, 4)
