"""Finds faulty and repeated boxes of an image, and counts box heights."""

from __future__ import annotations

import numpy as np

# In pixels. Labels drawn by hand or rounded from relative coordinates can end a pixel beyond the edge.
TOLERANCE = 1.0
HEIGHT_EDGES = (0, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def faulty_boxes(
    boxes_N4: np.ndarray, ignore_N: np.ndarray, size: tuple[int, int] | None
) -> list[tuple[str, int, str]]:
    """Returns the kind of fault, the number (from 1) and the details of each faulty box.

    Args:
        boxes_N4: x1 y1 x2 y2 in pixels.
        ignore_N: bool; boxes to be ignored can be empty or outside.
        size: width, height of the image in pixels; None if unknown, then no box is outside.
    """
    found = []
    finite_N = np.isfinite(boxes_N4).all(axis=1)
    empty_N = finite_N & ~ignore_N & ((boxes_N4[:, 2:] - boxes_N4[:, :2]) <= 0).any(axis=1)
    for index in np.flatnonzero(~finite_N):
        found.append(("not finite", int(index) + 1, f"box {index + 1}: {_text(boxes_N4[index])}"))
    for index in np.flatnonzero(empty_N):
        found.append(("empty", int(index) + 1, f"box {index + 1}: {_text(boxes_N4[index])}"))
    if size:
        beyond_N = np.concatenate([-boxes_N4[:, :2], boxes_N4[:, 2:] - np.array(size)], axis=1).max(axis=1)
        for index in np.flatnonzero(finite_N & ~ignore_N & ~empty_N & (beyond_N > TOLERANCE)):
            detail = f"box {index + 1}: {_text(boxes_N4[index])} in an image of {size[0]} x {size[1]}"
            found.append(("outside", int(index) + 1, detail))
    return found


def repeated_boxes(boxes_N4: np.ndarray, ignore_N: np.ndarray) -> list[str]:
    """Returns the details of each box with the same coordinates as an earlier one, without boxes to be ignored."""
    numbers_F = np.flatnonzero(~ignore_N)
    if len(numbers_F) < 2:
        return []
    _, first, inverse = np.unique(boxes_N4[numbers_F], axis=0, return_index=True, return_inverse=True)
    first_F = first[inverse.reshape(-1)]
    pairs = [(numbers_F[first_F[index]], number) for index, number in enumerate(numbers_F) if first_F[index] != index]
    return [f"boxes {one + 1} and {other + 1}: {_text(boxes_N4[other])}" for one, other in pairs]


def count_heights(boxes_N4: np.ndarray) -> list[int]:
    """Returns the number of boxes with a height from each of HEIGHT_EDGES up to the next; the last bin is open."""
    boxes_N4 = boxes_N4[np.isfinite(boxes_N4).all(axis=1)]
    heights_N = boxes_N4[:, 3] - boxes_N4[:, 1]
    counts, _ = np.histogram(np.maximum(heights_N, 0), [*HEIGHT_EDGES, np.inf])
    return [int(count) for count in counts]


def _text(box_4: np.ndarray) -> str:
    return " ".join(f"{value:.6g}" for value in box_4)
