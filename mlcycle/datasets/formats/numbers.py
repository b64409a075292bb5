"""Numbers in label files: short, and exact when they are read back as 32-bit floats."""

from __future__ import annotations

import numpy as np


def plain(value: float | np.floating) -> int | float:
    """Returns a whole number as an int, and any other as the shortest decimal that gives the same 32-bit float."""
    short = float(str(np.float32(value)))
    return int(short) if short.is_integer() else short


def corner_and_sides(box_4: np.ndarray) -> list[int | float]:
    """Returns x y width height of a box x1 y1 x2 y2.

    A reader adds x and width in 32 bits; the width is chosen so that this sum is exactly x2, where possible.
    """
    x1, y1, x2, y2 = (np.float32(value) for value in box_4)
    return [plain(x1), plain(y1), plain(_side(x1, x2)), plain(_side(y1, y2))]


def _side(start: np.float32, end: np.float32) -> np.float32:
    side = np.float32(float(end) - float(start))
    near = (side, np.nextafter(side, np.float32(np.inf)), np.nextafter(side, np.float32(-np.inf)))
    return next((each for each in near if start + each == end), side)
