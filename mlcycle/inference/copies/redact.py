"""Redacts faces in a copy of the image."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

RedactionMethod = Literal["blur", "pixelate", "fill"]

# The ellipse that covers a face is wider and higher than its box by this factor; it includes hair, chin and ears.
ELLIPSE_SCALE = 1.8
# Cells across the shorter side of a face's ellipse; only their means remain, too few to distinguish eyes, nose and
# mouth. A Gaussian blur could be sharpened again. DECISIONS.md, item 44, has what detectors find at other values.
CELLS = 2
FILL_COLOUR = (96, 96, 96)


def redact(image: Image.Image, boxes_N4: np.ndarray, method: RedactionMethod) -> Image.Image:
    """Returns a copy of an upright RGB image whose faces cannot be recognised.

    Each face is covered by an ellipse 1.8 times as wide and high as its box. `blur` and `pixelate` keep only the means
    of two cells across, smoothly or as squares; `fill` keeps nothing.

    Args:
        boxes_N4: x1 y1 x2 y2 in pixels of the image.
    """
    copy = image.copy()
    for box_4 in boxes_N4.tolist():
        region = _region(box_4, image.size)
        if region[0] < region[2] and region[1] < region[3]:
            copy.paste(_redacted(copy.crop(region), box_4, method), region[:2], _mask(box_4, region))
    return copy


def _region(box_4: list[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns the whole pixels within the image that the ellipse around a box touches: x1 y1 x2 y2."""
    left, top, right, bottom = _ellipse(box_4)
    return (
        max(0, int(np.floor(left))), max(0, int(np.floor(top))),
        min(size[0], int(np.ceil(right))), min(size[1], int(np.ceil(bottom))),
    )  # fmt: skip


def _ellipse(box_4: list[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box_4
    half_width, half_height = ELLIPSE_SCALE * (x2 - x1) / 2, ELLIPSE_SCALE * (y2 - y1) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def _redacted(region: Image.Image, box_4: list[float], method: RedactionMethod) -> Image.Image:
    if method == "fill":
        return Image.new("RGB", region.size, FILL_COLOUR)
    # Of the whole ellipse: the part of it within the image may be a narrow strip, whose cells would be fine.
    left, top, right, bottom = _ellipse(box_4)
    cell = max(1.0, min(right - left, bottom - top) / CELLS)
    cells = [max(1, round(side / cell)) for side in region.size]
    means = region.resize((cells[0], cells[1]), Image.Resampling.BOX)
    return means.resize(region.size, Image.Resampling.NEAREST if method == "pixelate" else Image.Resampling.BICUBIC)


def _mask(box_4: list[float], region: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", (region[2] - region[0], region[3] - region[1]))
    left, top, right, bottom = _ellipse(box_4)
    bounds = (left - region[0], top - region[1], right - region[0], bottom - region[1])
    ImageDraw.Draw(mask).ellipse(bounds, fill=255)
    return mask
