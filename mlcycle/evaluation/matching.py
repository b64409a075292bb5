"""Which detection found which face: COCO's greedy matching, for all IoU thresholds and ranges of sizes at once."""

from __future__ import annotations

import numpy as np


def intersections(first_M4: np.ndarray, second_N4: np.ndarray) -> np.ndarray:
    """Returns the areas, in square pixels, that M boxes share with N others (x1 y1 x2 y2): float64, [M, N]."""
    least = np.minimum(first_M4[:, None, 2:], second_N4[None, :, 2:])
    most = np.maximum(first_M4[:, None, :2], second_N4[None, :, :2])
    return np.prod(np.clip(least - most, 0, None), axis=2)


def areas(boxes_N4: np.ndarray) -> np.ndarray:
    """Returns the areas of boxes (x1 y1 x2 y2) in square pixels; a box turned inside out has none."""
    sides_N2 = np.clip(boxes_N4[:, 2:] - boxes_N4[:, :2], 0, None)
    return sides_N2[:, 0] * sides_N2[:, 1]


def overlaps(boxes_M4: np.ndarray, truth_N4: np.ndarray, ignore_N: np.ndarray) -> np.ndarray:
    """Returns how well M detections fit N truths: intersection over union, [M, N].

    For a truth that is ignored it is the intersection over the *detection's* area, as COCO does for crowds: a region
    to be ignored may hold any number of faces, and whatever lies inside it is neither right nor wrong.
    """
    shared_MN = intersections(boxes_M4, truth_N4)
    own_M1 = areas(boxes_M4)[:, None]
    whole_MN = np.where(ignore_N[None, :], own_M1, own_M1 + areas(truth_N4)[None, :] - shared_MN)
    return np.divide(shared_MN, whole_MN, out=np.zeros_like(shared_MN), where=shared_MN > 0)


def match(
    overlap_MN: np.ndarray, ignore_N: np.ndarray, aside_RN: np.ndarray, thresholds_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Matches the detections of one photograph, best score first, to its truths.

    Each detection takes, among the truths not taken yet that it overlaps enough, the one it overlaps most; a truth set
    aside only if no other is left. A truth with `ignore_N` can be taken any number of times.

    Args:
        overlap_MN: what `overlaps` gave; rows in falling order of score.
        ignore_N: bool, truths that are regions to be ignored.
        aside_RN: bool, for each of R ranges of sizes the truths that do not count there; includes `ignore_N`.
        thresholds_T: least overlap of a match.

    Returns:
        found_RTM: bool, the detection was matched to some truth.
        aside_RTM: bool, and this truth does not count.
    """
    ranges, (detections, truths), steps = len(aside_RN), overlap_MN.shape, len(thresholds_T)
    found_RTM = np.zeros((ranges, steps, detections), bool)
    aside_RTM = np.zeros((ranges, steps, detections), bool)
    free_RTN = np.ones((ranges, steps, truths), bool)
    near_MN = overlap_MN >= thresholds_T.min()
    for detection in np.flatnonzero(near_MN.any(axis=1)):
        # Few truths are near enough to be taken, so each step works on very small arrays. Of equal overlaps the later
        # truth wins, as in COCO's own loop: hence the stable order, and its last candidate.
        near = np.flatnonzero(near_MN[detection])
        near = near[np.argsort(overlap_MN[detection, near], kind="stable")]
        enough_TK = overlap_MN[detection, near] >= thresholds_T[:, None]
        possible_RTK = free_RTN[:, :, near] & enough_TK
        rank_R1K = np.where(aside_RN[:, near], 1, 1 + len(near))[:, None, :] + np.arange(len(near))
        rank_RTK = np.where(possible_RTK, rank_R1K, 0)
        chosen_RT = rank_RTK.argmax(axis=2)
        hit_RT = rank_RTK.max(axis=2) > 0
        found_RTM[:, :, detection] = hit_RT
        at_range, at_step = np.nonzero(hit_RT)
        taken = near[chosen_RT[at_range, at_step]]
        aside_RTM[at_range, at_step, detection] = aside_RN[at_range, taken]
        free_RTN[at_range, at_step, taken] = ignore_N[taken]
    return found_RTM, aside_RTM
