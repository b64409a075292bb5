"""Collects a detector's evidence for and against each label of a set, and against randomly corrupted labels.

Corrupted labels are moved by .2 to .6 of their sides, resized by a factor of 1.3 to 2, or put at a random place of the
image; their points are moved by .15 to .5 of the face's size or put in the order of a mirrored face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from mlcycle.evaluation import matching

# The lowest overlap (intersection over union) at which a detection may be of the same face as a wrong label.
NEAR = 0.2
# A second box on a labelled face, by overlap or by the share inside the label, is not a missing label.
SAME_FACE, INSIDE, IGNORED = 0.3, 0.7, 0.5
MIRRORED = (1, 0, 2, 4, 3)


@dataclass(frozen=True, slots=True)
class Case:
    """The labels and detections of one image: boxes x1 y1 x2 y2, points x y, in pixels.

    Attributes:
        boxes_N4, ignore_N, points_N52: labels; ignored ones are never contradicted. NaN for a missing point.
        found_M4, scores_M, found_points_M52: detections; None for a detector without points.
        size: width, height of the image in pixels.
        shrink: pixels of the network's input per pixel of the image.
    """

    boxes_N4: np.ndarray
    ignore_N: np.ndarray
    points_N52: np.ndarray
    found_M4: np.ndarray
    scores_M: np.ndarray
    found_points_M52: np.ndarray | None
    size: tuple[int, int]
    shrink: float = 1.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for and against each of L labels of a set.

    Attributes:
        case_L, row_L: index of its image, and its row there.
        found_L: the row of the detection of the same face, or -1; then score and overlap are 0.
        height_L: of the label, in pixels of the network's input.
        score_L, overlap_L: of the detection; intersection over union.
        off_L: mean distance of labelled from found points, in sizes of the face; NaN without one of them.
        outside_L: distance of the farthest labelled point from the box, in sides of the box; NaN without a point.
    """

    case_L: np.ndarray
    row_L: np.ndarray
    found_L: np.ndarray
    height_L: np.ndarray
    score_L: np.ndarray
    overlap_L: np.ndarray
    off_L: np.ndarray
    outside_L: np.ndarray


@dataclass(frozen=True, slots=True)
class Alarms:
    """The detections without a label: index of the image, row, height in pixels of the network's input, score."""

    case_A: np.ndarray
    found_A: np.ndarray
    height_A: np.ndarray
    score_A: np.ndarray


def pair(case: Case) -> np.ndarray:
    """Returns for each label the row of the detection of the same face, or -1: int, [N]; each is used once.

    Pairs are made in the order of overlap times the square root of the score: a detection with a high score and a lower
    overlap is more likely of the face than a weak one that overlaps by chance.
    """
    taken_N, free_M = np.full(len(case.boxes_N4), -1), np.ones(len(case.scores_M), bool)
    worth_MN = _worth(case, case.boxes_N4)
    rows, columns = np.nonzero(worth_MN)
    for each in np.argsort(-worth_MN[rows, columns], kind="stable"):
        row, column = rows[each], columns[each]
        if taken_N[column] < 0 and free_M[row]:
            taken_N[column], free_M[row] = row, False
    return taken_N


def of_labels(cases: Sequence[Case], pairs: Sequence[np.ndarray]) -> Evidence:
    """Returns the evidence of all labels that count, in order."""
    return _joined(
        [
            _evidence(number, case, case.boxes_N4, case.points_N52, found_N, ~case.ignore_N)
            for number, (case, found_N) in enumerate(zip(cases, pairs, strict=True))
        ]
    )


def of_moved_boxes(cases: Sequence[Case], pairs: Sequence[np.ndarray], random: np.random.Generator) -> Evidence:
    """Returns the evidence of moved or resized labels, one changed at a time."""
    parts = []
    for number, (case, found_N) in enumerate(zip(cases, pairs, strict=True)):
        boxes_N4 = _moved(case.boxes_N4, random)
        found = _best_for(case, boxes_N4, found_N)
        parts.append(_evidence(number, case, boxes_N4, case.points_N52, found, ~case.ignore_N))
    return _joined(parts)


def of_random_boxes(cases: Sequence[Case], pairs: Sequence[np.ndarray], random: np.random.Generator) -> Evidence:
    """Returns the evidence of labels at random places of the image without a label."""
    parts = []
    for number, (case, found_N) in enumerate(zip(cases, pairs, strict=True)):
        sides_N2 = case.boxes_N4[:, 2:] - case.boxes_N4[:, :2]
        free_N2 = np.array(case.size) - sides_N2
        corners_N2 = random.random(free_N2.shape) * free_N2
        boxes_N4 = np.concatenate([corners_N2, corners_N2 + sides_N2], axis=1)
        alone_N = ~(matching.intersections(boxes_N4, case.boxes_N4) > 0).any(axis=1) & (free_N2 > 0).all(axis=1)
        found = _best_for(case, boxes_N4, np.full_like(found_N, -1), free_M=_free(case, found_N))
        parts.append(_evidence(number, case, boxes_N4, case.points_N52, found, ~case.ignore_N & alone_N))
    return _joined(parts)


def of_moved_points(cases: Sequence[Case], pairs: Sequence[np.ndarray], random: np.random.Generator) -> Evidence:
    """Returns the evidence of labels with moved or mirrored points."""
    parts = []
    for number, (case, found_N) in enumerate(zip(cases, pairs, strict=True)):
        size_N = np.sqrt(matching.areas(case.boxes_N4))
        moved_N52 = case.points_N52 + (_directions(len(size_N), 0.15, 0.5, random) * size_N[:, None])[:, None]
        is_mirrored_N = random.random(len(size_N)) < 0.5
        points_N52 = np.where(is_mirrored_N[:, None, None], case.points_N52[:, MIRRORED], moved_N52)
        parts.append(_evidence(number, case, case.boxes_N4, points_N52, found_N, ~case.ignore_N))
    return _joined(parts)


def alarms(cases: Sequence[Case], pairs: Sequence[np.ndarray]) -> Alarms:
    """Returns the detections that match neither a label nor an ignored region."""
    parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))]
    for number, (case, found_N) in enumerate(zip(cases, pairs, strict=True)):
        rows = np.flatnonzero(_free(case, found_N))
        found_A4 = case.found_M4[rows]
        fits_AN = matching.overlaps(found_A4, case.boxes_N4, case.ignore_N)
        own_A1 = np.maximum(matching.areas(found_A4)[:, None], 1e-9)
        inside_AN = matching.intersections(found_A4, case.boxes_N4) / own_A1
        labelled_AN = (fits_AN >= np.where(case.ignore_N, IGNORED, SAME_FACE)) | (inside_AN >= INSIDE)
        rows = rows[~labelled_AN.any(axis=1)]
        heights = (case.found_M4[rows, 3] - case.found_M4[rows, 1]) * case.shrink
        parts.append((np.full(len(rows), number), rows, heights, case.scores_M[rows]))
    return Alarms(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def joined(parts: Sequence[Evidence]) -> Evidence:
    """Concatenates evidence, in order."""
    names = [each.name for each in fields(Evidence)]
    return Evidence(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _worth(case: Case, boxes_N4: np.ndarray) -> np.ndarray:
    overlap_MN = matching.overlaps(case.found_M4, boxes_N4, np.zeros(len(boxes_N4), bool))
    counts_MN = (overlap_MN >= NEAR) & ~case.ignore_N
    return np.where(counts_MN, overlap_MN * np.sqrt(case.scores_M)[:, None], 0)


def _free(case: Case, found_N: np.ndarray) -> np.ndarray:
    free_M = np.ones(len(case.scores_M), bool)
    free_M[found_N[found_N >= 0]] = False
    return free_M


def _best_for(case: Case, boxes_N4: np.ndarray, found_N: np.ndarray, free_M: np.ndarray | None = None) -> np.ndarray:
    """Returns for each box the best detection that no other label has, or -1: int, [N]."""
    free_M = _free(case, found_N) if free_M is None else free_M
    own_MN = np.arange(len(case.scores_M))[:, None] == found_N
    worth_MN = np.where(free_M[:, None] | own_MN, _worth(case, boxes_N4), 0)
    if not worth_MN.size:
        return np.full(len(boxes_N4), -1)
    return np.where(worth_MN.max(axis=0) > 0, worth_MN.argmax(axis=0), -1)


def _moved(boxes_N4: np.ndarray, random: np.random.Generator) -> np.ndarray:
    count = len(boxes_N4)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    is_moved_N1 = random.random((count, 1)) < 0.5
    factor_N1 = random.uniform(1.3, 2, (count, 1)) ** random.choice([-1, 1], (count, 1))
    middle_N2 = (
        boxes_N4[:, :2] + sides_N2 / 2 + np.where(is_moved_N1, sides_N2 * _directions(count, 0.2, 0.6, random), 0)
    )
    half_N2 = sides_N2 / 2 * np.where(is_moved_N1, 1, factor_N1)
    return np.concatenate([middle_N2 - half_N2, middle_N2 + half_N2], axis=1)


def _directions(count: int, least: float, most: float, random: np.random.Generator) -> np.ndarray:
    """Returns vectors of random direction and of lengths from `least` to `most`: float64, [N, 2]."""
    angle_N = random.uniform(0, 2 * np.pi, count)
    return np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1) * random.uniform(least, most, (count, 1))


def _evidence(
    number: int, case: Case, boxes_N4: np.ndarray, points_N52: np.ndarray, found_N: np.ndarray, counts_N: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Returns the columns of Evidence for the labels of one image that count."""
    rows = np.flatnonzero(counts_N & np.isfinite(boxes_N4).all(axis=1))
    found_L, boxes_L4, points_L52 = found_N[rows], boxes_N4[rows].astype(float), points_N52[rows].astype(float)
    # An empty last row for labels without a detection, whose row is -1.
    nothing_4, scores_M = np.zeros((1, 4)), np.append(case.scores_M, 0.0)
    return (
        np.full(len(rows), number),
        rows,
        found_L,
        (boxes_L4[:, 3] - boxes_L4[:, 1]) * case.shrink,
        scores_M[found_L],
        _fits(boxes_L4, np.concatenate([case.found_M4, nothing_4])[found_L]),
        _off(points_L52, case.found_points_M52, found_L, boxes_L4),
        _outside(points_L52, boxes_L4),
    )


def _joined(parts: list[tuple[np.ndarray, ...]]) -> Evidence:
    whole, broken = np.zeros(0, int), np.zeros(0)
    empty = (whole, whole, whole, broken, broken, broken, broken, broken)
    return Evidence(*(np.concatenate(column) for column in zip(empty, *parts, strict=True)))


def _fits(first_L4: np.ndarray, second_L4: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of pairs of boxes."""
    sides_L2 = np.minimum(first_L4[:, 2:], second_L4[:, 2:]) - np.maximum(first_L4[:, :2], second_L4[:, :2])
    shared_L = np.clip(sides_L2, 0, None).prod(axis=1)
    whole_L = matching.areas(first_L4) + matching.areas(second_L4) - shared_L
    return np.divide(shared_L, whole_L, out=np.zeros_like(shared_L), where=shared_L > 0)


def _off(points_L52: np.ndarray, found_M52: np.ndarray | None, found_L: np.ndarray, boxes_L4: np.ndarray) -> np.ndarray:
    if found_M52 is None or not len(found_M52):
        return np.full(len(found_L), np.nan)
    distance_L5 = np.linalg.norm(points_L52 - found_M52[found_L], axis=2)
    known_L5 = np.isfinite(distance_L5)
    mean_L = np.where(known_L5, distance_L5, 0).sum(axis=1) / np.maximum(known_L5.sum(axis=1), 1)
    size_L = np.sqrt(np.maximum(matching.areas(boxes_L4), 1e-9))
    return np.where((found_L >= 0) & known_L5.any(axis=1), mean_L / size_L, np.nan)


def _outside(points_L52: np.ndarray, boxes_L4: np.ndarray) -> np.ndarray:
    sides_L12 = np.maximum(boxes_L4[:, None, 2:] - boxes_L4[:, None, :2], 1e-9)
    beyond_L52 = np.maximum(boxes_L4[:, None, :2] - points_L52, points_L52 - boxes_L4[:, None, 2:]) / sides_L12
    farthest_L = np.where(np.isfinite(beyond_L52), np.clip(beyond_L52, 0, None), 0).max(axis=(1, 2), initial=0)
    return np.where(np.isfinite(points_L52).any(axis=(1, 2)), farthest_L, np.nan)
