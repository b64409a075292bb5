"""Which boxes to cover in the frames of a video, so that no face shows in the few in which the model missed it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# A box is kept for so many frames before the first and behind the last in which its face was found.
REACH = 3
# A face moves at most so much of its own size from one frame to the next, and has at most so many times another's area.
_STEP = 0.8
_GROWTH = 2.5


@dataclass(slots=True)
class _Seen:
    """A face as it was last found: in which frame, from 0 on, and where (x1 y1 x2 y2)."""

    row: int
    box_4: np.ndarray


def smooth_boxes(boxes_by_frame: Sequence[np.ndarray], reach: int = REACH) -> list[np.ndarray]:
    """Returns the boxes to cover in each frame: those found in it, and those of faces found before and behind it.

    Where a face was missed in up to 2 * `reach` frames and then found again, its box goes evenly from the one place to
    the other. Where it was not found again, its box stays for `reach` frames, and so it does before it was found.

    Args:
        boxes_by_frame: of each frame x1 y1 x2 y2 in pixels (N x 4).
    """
    covered: list[list[np.ndarray]] = [list(boxes_N4) for boxes_N4 in boxes_by_frame]
    seen: list[_Seen] = []
    for row, boxes_N4 in enumerate(boxes_by_frame):
        lost = [each for each in seen if row - each.row > 2 * reach + 1]
        seen = [each for each in seen if row - each.row <= 2 * reach + 1]
        _hold(covered, lost, range(1, reach + 1))
        before = _matches(seen, row, boxes_N4)
        for number, box_4 in enumerate(boxes_N4):
            if number in before:
                _bridge(covered, before[number], row, box_4)
                before[number].row, before[number].box_4 = row, box_4
            else:
                seen.append(_Seen(row, box_4))
                _hold(covered, [seen[-1]], range(-reach, 0))
    _hold(covered, seen, range(1, reach + 1))
    return [np.array(boxes, np.float32).reshape(-1, 4) for boxes in covered]


def _matches(seen: list[_Seen], row: int, boxes_N4: np.ndarray) -> dict[int, _Seen]:
    """Returns which of the faces seen before each box is, by its number: the nearest go first, and each is one box."""
    if not seen or not len(boxes_N4):
        return {}
    seen_M4 = np.array([each.box_4 for each in seen], np.float64)
    steps_M = np.array([row - each.row for each in seen])
    middles_N2, sides_N2 = _middles(boxes_N4), _sides(boxes_N4)
    sides_M2 = _sides(seen_M4)
    apart_MN = np.linalg.norm(_middles(seen_M4)[:, None] - middles_N2, axis=2)
    sizes_MN = (sides_M2.mean(axis=1)[:, None] + sides_N2.mean(axis=1)) / 2
    grown_MN = np.abs(np.log(sides_M2.prod(axis=1)[:, None] / sides_N2.prod(axis=1)))
    apart_MN = np.where(grown_MN <= np.log(_GROWTH), apart_MN / sizes_MN / steps_M[:, None], np.inf)
    chosen: dict[int, _Seen] = {}
    taken: set[int] = set()
    rows, columns = np.nonzero(apart_MN <= _STEP)
    for place in np.argsort(apart_MN[rows, columns], kind="stable"):
        face, number = int(rows[place]), int(columns[place])
        if face not in taken and number not in chosen:
            taken.add(face)
            chosen[number] = seen[face]
    return chosen


def _bridge(covered: list[list[np.ndarray]], face: _Seen, row: int, box_4: np.ndarray) -> None:
    for between in range(face.row + 1, row):
        share = (between - face.row) / (row - face.row)
        covered[between].append((1 - share) * face.box_4 + share * box_4)


def _hold(covered: list[list[np.ndarray]], faces: Iterable[_Seen], steps: range) -> None:
    for face in faces:
        for step in steps:
            if 0 <= face.row + step < len(covered):
                covered[face.row + step].append(face.box_4)


def _middles(boxes_N4: np.ndarray) -> np.ndarray:
    return (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2


def _sides(boxes_N4: np.ndarray) -> np.ndarray:
    return np.maximum(boxes_N4[:, 2:] - boxes_N4[:, :2], 1e-3)
