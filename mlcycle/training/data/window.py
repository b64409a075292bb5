"""Pixels of images: windows to the borders of what is stored, the size that is wanted, and mirrored.

torch does on uint8 what Pillow and numpy do, with the same numbers, in a fraction of the time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional


class Place(NamedTuple):
    """A window in whole stored pixels, x1 y1 x2 y2, and in pixels of the image."""

    stored: tuple[int, int, int, int]
    real: tuple[float, float, float, float]


def stored_window(
    window: tuple[float, float, float, float], size: tuple[int, int], stored_size: tuple[int, int]
) -> Place:
    """Moves a window to the nearest borders of stored pixels, at least one of them wide and high.

    Args:
        window: x1 y1 x2 y2 in pixels of the image, within it.
        size: the image's width and height.
        stored_size: those of the copy that is stored, which may be smaller.
    """
    scales = [stored / own for stored, own in zip(stored_size, size, strict=True)]
    first = [
        min(limit - 1, round(at * scale)) for at, scale, limit in zip(window[:2], scales, stored_size, strict=True)
    ]
    last = [
        min(limit, max(start + 1, round(at * scale)))
        for at, scale, limit, start in zip(window[2:], scales, stored_size, first, strict=True)
    ]
    stored = (first[0], first[1], last[0], last[1])
    across, down = scales
    return Place(stored, (stored[0] / across, stored[1] / down, stored[2] / across, stored[3] / down))


def resize(pixels_HW3: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Makes uint8 pixels `size` wide and high: bilinear, and averaging where they become fewer, as Pillow does."""
    if (pixels_HW3.shape[1], pixels_HW3.shape[0]) == size:
        return pixels_HW3
    # In this order: from strides that say "rows of RGBRGB…" torch makes such rows, and else three planes.
    planes = torch.from_numpy(pixels_HW3).unsqueeze(0).permute(0, 3, 1, 2)
    made = functional.interpolate(planes, (size[1], size[0]), mode="bilinear", antialias=True, align_corners=False)
    return made[0].permute(1, 2, 0).numpy()


def mirror(pixels_HW3: np.ndarray) -> np.ndarray:
    """Returns pixels with left and right changed."""
    return torch.from_numpy(pixels_HW3).flip(1).numpy()
