"""Matches detections to faces: COCO's greedy matching, for all IoU thresholds and ranges of sizes at once.

In greedy matching, the match of a detection depends on better scored detections, but only on the few that overlap the
same faces. So matching runs in rounds over all images: each round matches every detection that competes with no
unmatched, better scored detection. A handful of rounds replaces a loop over tens of thousands of detections, with the
same result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def intersections(first_M4: np.ndarray, second_N4: np.ndarray) -> np.ndarray:
    """Returns the intersections of M boxes with N others (x1 y1 x2 y2), in square pixels: float64, [M, N]."""
    least_MN2 = np.minimum(first_M4[:, None, 2:], second_N4[None, :, 2:])
    most_MN2 = np.maximum(first_M4[:, None, :2], second_N4[None, :, :2])
    sides_MN2 = np.clip(least_MN2 - most_MN2, 0, None)
    return sides_MN2[..., 0] * sides_MN2[..., 1]


def areas(boxes_N4: np.ndarray) -> np.ndarray:
    """Returns the areas of boxes (x1 y1 x2 y2) in square pixels; an inverted box has area 0."""
    sides_N2 = np.clip(boxes_N4[:, 2:] - boxes_N4[:, :2], 0, None)
    return sides_N2[:, 0] * sides_N2[:, 1]


def overlaps(boxes_M4: np.ndarray, truth_N4: np.ndarray, ignore_N: np.ndarray) -> np.ndarray:
    """Returns intersection over union of M detections with N truths: [M, N].

    For an ignored truth it is the intersection over the *detection's* area, as COCO does for crowds: an ignored region
    may hold any number of faces, and a detection inside it is neither right nor wrong.
    """
    shared_MN = intersections(boxes_M4, truth_N4)
    own_M1 = areas(boxes_M4)[:, None]
    whole_MN = np.where(ignore_N[None, :], own_M1, own_M1 + areas(truth_N4)[None, :] - shared_MN)
    return np.divide(shared_MN, whole_MN, out=np.zeros_like(shared_MN), where=shared_MN > 0)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of detections and truths that overlap enough to be matched, of any number of images.

    Attributes:
        detection_K: the detection of each of K pairs, ascending; those of an image are numbered best score first.
        truth_K: its truth. Images share neither detections nor truths.
        overlap_K: its value of `overlaps`.
    """

    detection_K: np.ndarray
    truth_K: np.ndarray
    overlap_K: np.ndarray

    def of(self, chosen_K: np.ndarray) -> Pairs:
        return Pairs(self.detection_K[chosen_K], self.truth_K[chosen_K], self.overlap_K[chosen_K])


def match(
    pairs: Pairs, detections: int, ignore_N: np.ndarray, aside_RN: np.ndarray, thresholds_T: np.ndarray
) -> np.ndarray:
    """Matches detections, best score first within each image, to truths.

    Each detection takes the free truth that it overlaps most, if it overlaps it enough (of equal overlaps the later, as
    in COCO's loop). It takes a truth that does not count only if no other is free. A truth with `ignore_N` can be taken
    any number of times.

    Args:
        pairs: those with an overlap of at least the lowest threshold.
        detections: their number M.
        ignore_N: bool, truths that are ignored regions.
        aside_RN: bool, for each of R ranges of sizes the truths that do not count there; includes `ignore_N`.
        thresholds_T: lowest overlap of a match.

    Returns:
        taken_RTM: int32, the truth that each detection is matched to, or -1.
    """
    taken_RTM = np.full((len(aside_RN), len(thresholds_T), detections), -1, np.int32)
    free_RTN = np.ones((len(aside_RN), len(thresholds_T), len(ignore_N)), bool)
    while len(pairs.detection_K):
        now_K = _decidable(pairs, detections, ignore_N)
        detection_D, best_RTD = _best(pairs.of(now_K), free_RTN, aside_RN, thresholds_T)
        taken_RTM[:, :, detection_D] = best_RTD
        at_range, at_step, at = np.nonzero(best_RTD >= 0)
        truth = best_RTD[at_range, at_step, at]
        free_RTN[at_range, at_step, truth] = ignore_N[truth]
        pairs = pairs.of(~now_K)
    return taken_RTM


def _decidable(pairs: Pairs, detections: int, ignore_N: np.ndarray) -> np.ndarray:
    """Returns, bool, [K], which pairs belong to detections that are the best at every truth that they compete for."""
    first_N = np.full(len(ignore_N), detections)
    np.minimum.at(first_N, pairs.truth_K, pairs.detection_K)
    waits_K = (first_N[pairs.truth_K] < pairs.detection_K) & ~ignore_N[pairs.truth_K]
    waits_M = np.zeros(detections, bool)
    waits_M[pairs.detection_K[waits_K]] = True
    return ~waits_M[pairs.detection_K]


def _best(
    pairs: Pairs, free_RTN: np.ndarray, aside_RN: np.ndarray, thresholds_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the D detections of these pairs, and the truth that each takes, best_RTD, or -1."""
    order = np.lexsort((pairs.truth_K, pairs.overlap_K))
    rank_K = np.empty(len(order), np.int64)
    rank_K[order] = np.arange(len(order))
    # Truths that count rank above all others.
    rank_RK = rank_K + len(order) * ~aside_RN[:, pairs.truth_K]
    possible_RTK = free_RTN[:, :, pairs.truth_K] & (pairs.overlap_K >= thresholds_T[:, None])
    ranks_RTK = np.where(possible_RTK, rank_RK[:, None, :], -1)
    detection_D, first_D = np.unique(pairs.detection_K, return_index=True)
    best_RTD = np.maximum.reduceat(ranks_RTK, first_D, axis=2)
    return detection_D, np.where(best_RTD >= 0, pairs.truth_K[order][best_RTD % len(order)], -1)
