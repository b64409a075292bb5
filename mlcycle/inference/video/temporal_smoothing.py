"""Temporal smoothing: the boxes to cover in each video frame, including frames in which the model missed a face."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# A box is kept for this many frames before the first and after the last detection of its face.
REACH = 3
# The maximum movement of a face between two frames, relative to its size, and the maximum ratio of areas.
_MAX_STEP = 0.8
_MAX_GROWTH = 2.5


@dataclass(slots=True)
class _Track:
    """The last detection of a face: its frame, counted from 0, and its box (x1 y1 x2 y2)."""

    row: int
    box_4: np.ndarray


def smooth_boxes(boxes_by_frame: Sequence[np.ndarray], reach: int = REACH) -> list[np.ndarray]:
    """Returns the boxes to cover in each frame: the detections in it, and those before and after it.

    If a face was missed in up to 2 * `reach` frames and then found again, its box is interpolated. If it was not found
    again, its box stays for `reach` frames; likewise before its first detection.

    Args:
        boxes_by_frame: x1 y1 x2 y2 in pixels (N x 4) for each frame.
    """
    covered: list[list[np.ndarray]] = [list(boxes_N4) for boxes_N4 in boxes_by_frame]
    tracks: list[_Track] = []
    for row, boxes_N4 in enumerate(boxes_by_frame):
        lost = [each for each in tracks if row - each.row > 2 * reach + 1]
        tracks = [each for each in tracks if row - each.row <= 2 * reach + 1]
        _extend(covered, lost, range(1, reach + 1))
        matches = _matches(tracks, row, boxes_N4)
        for number, box_4 in enumerate(boxes_N4):
            if number in matches:
                _interpolate(covered, matches[number], row, box_4)
                matches[number].row, matches[number].box_4 = row, box_4
            else:
                tracks.append(_Track(row, box_4))
                _extend(covered, [tracks[-1]], range(-reach, 0))
    _extend(covered, tracks, range(1, reach + 1))
    return [np.array(boxes, np.float32).reshape(-1, 4) for boxes in covered]


def _matches(tracks: list[_Track], row: int, boxes_N4: np.ndarray) -> dict[int, _Track]:
    """Returns box number → its track; the closest pairs are matched first, one to one."""
    if not tracks or not len(boxes_N4):
        return {}
    tracks_M4 = np.array([each.box_4 for each in tracks], np.float64)
    steps_M = np.array([row - each.row for each in tracks])
    centres_N2, sides_N2 = _centres(boxes_N4), _sides(boxes_N4)
    sides_M2 = _sides(tracks_M4)
    distances_MN = np.linalg.norm(_centres(tracks_M4)[:, None] - centres_N2, axis=2)
    sizes_MN = (sides_M2.mean(axis=1)[:, None] + sides_N2.mean(axis=1)) / 2
    growth_MN = np.abs(np.log(sides_M2.prod(axis=1)[:, None] / sides_N2.prod(axis=1)))
    distances_MN = np.where(growth_MN <= np.log(_MAX_GROWTH), distances_MN / sizes_MN / steps_M[:, None], np.inf)
    chosen: dict[int, _Track] = {}
    taken: set[int] = set()
    rows, columns = np.nonzero(distances_MN <= _MAX_STEP)
    for index in np.argsort(distances_MN[rows, columns], kind="stable"):
        track, number = int(rows[index]), int(columns[index])
        if track not in taken and number not in chosen:
            taken.add(track)
            chosen[number] = tracks[track]
    return chosen


def _interpolate(covered: list[list[np.ndarray]], track: _Track, row: int, box_4: np.ndarray) -> None:
    for between in range(track.row + 1, row):
        share = (between - track.row) / (row - track.row)
        covered[between].append((1 - share) * track.box_4 + share * box_4)


def _extend(covered: list[list[np.ndarray]], tracks: Iterable[_Track], steps: range) -> None:
    for track in tracks:
        for step in steps:
            if 0 <= track.row + step < len(covered):
                covered[track.row + step].append(track.box_4)


def _centres(boxes_N4: np.ndarray) -> np.ndarray:
    return (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2


def _sides(boxes_N4: np.ndarray) -> np.ndarray:
    return np.maximum(boxes_N4[:, 2:] - boxes_N4[:, :2], 1e-3)
