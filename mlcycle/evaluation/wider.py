"""The official evaluation of WIDER FACE: average precision at its three levels, easy, medium and hard.

Source: Yang et al., "WIDER FACE: A Face Detection Benchmark" (2016), and the protocol of its evaluation tools:

1. All scores of the set are scaled to 0..1 by their minimum and maximum.
2. Each detection is compared with *all* labelled faces of its image; a box from x to x + w covers w + 1 pixels. It hits
   the face that it overlaps most (the first of equal ones) if intersection over union is >= 0.5.
3. A level defines the faces that count. A detection that hits another face is not a proposal: it counts neither way. A
   second hit of a face is a false alarm.
4. At each of 1000 thresholds 0.999, 0.998, … 0: precision is found faces over proposals, recall found faces over faces.
5. Average precision is the area under the envelope of these points, closed at recall 1 with precision 0.

Images without a labelled face are left out, except for their scores in (1). The official tool evaluates all 3,226
images; here the given images are the whole set, and only their faces count. Boxes are not rounded, while the tool
reads them from text, often rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVELS = ("easy", "medium", "hard")
IOU_THRESHOLD = 0.5
THRESHOLDS = 1 - np.arange(1, 1001) / 1000

Prediction = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class LevelPrecision:
    """The result of one level; NaN if no face counts.

    `precision_1000` and `recall_1000` are the curve, at the descending thresholds of the protocol.
    """

    ap: float
    faces: int
    precision_1000: np.ndarray
    recall_1000: np.ndarray


@dataclass(frozen=True, slots=True)
class LevelCounts:
    """The counts of one level for each of P images.

    `proposals_P1000` and `found_P1000` are the numbers of proposals, and of first hits among them, at or above each
    threshold; `faces_P` is the number of faces that count.
    """

    proposals_P1000: np.ndarray
    found_P1000: np.ndarray
    faces_P: np.ndarray


def average_precision(
    faces: Sequence[np.ndarray], counted: Mapping[str, Sequence[np.ndarray]], predictions: Sequence[Prediction]
) -> dict[str, LevelPrecision]:
    """Measures detections by the protocol of WIDER FACE.

    Args:
        faces: boxes_N4 of all labelled faces of each image: x1 y1 x2 y2 in pixels, with x2 = x + w of the label.
        counted: name of a level → counted_N of each image: bool, the faces that count.
        predictions: for each image (boxes_M4, scores_M): x1 y1 x2 y2 in pixels, in any order.

    Raises:
        ValueError: the lists, or the arrays of one image, differ in length.
    """
    return {level: summarise(counts) for level, counts in count(faces, counted, predictions).items()}


def count(
    faces: Sequence[np.ndarray], counted: Mapping[str, Sequence[np.ndarray]], predictions: Sequence[Prediction]
) -> dict[str, LevelCounts]:
    """Returns the counts of each level; arguments and errors as in `average_precision`."""
    predictions = [best_first(*each) for each in normalised(predictions)]
    hits = [hit_faces(boxes, truth) for (boxes, _), truth in zip(predictions, faces, strict=True)]
    scores = [scores for _, scores in predictions]
    return {level: _level(hits, scores, counts) for level, counts in counted.items()}


def summarise(counts: LevelCounts) -> LevelPrecision:
    """Returns the result of one level over all images."""
    faces = int(counts.faces_P.sum())
    found, proposals = counts.found_P1000.sum(axis=0), counts.proposals_P1000.sum(axis=0)
    recall, precision = _curve(found, proposals, float(faces))
    return LevelPrecision(float(area_under_envelope(recall, precision)), faces, precision, recall)


def drawn(counts: LevelCounts, weights_BP: np.ndarray) -> np.ndarray:
    """Returns ap_B over B samples of the images, for an interval; scores stay normalised over the whole set.

    `weights_BP` is the number of times that each image is in each sample.
    """
    found_B1000, proposals_B1000 = weights_BP @ counts.found_P1000, weights_BP @ counts.proposals_P1000
    recall_B1000, precision_B1000 = _curve(found_B1000, proposals_B1000, (weights_BP @ counts.faces_P)[:, None])
    return area_under_envelope(recall_B1000, precision_B1000)


def normalised(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Scales all scores to 0..1 by the minimum and maximum of the set; equal scores become 1."""
    pairs = [
        (np.asarray(boxes, float).reshape(-1, 4), np.asarray(scores, float).reshape(-1))
        for boxes, scores in predictions
    ]
    everything = np.concatenate([scores for _, scores in pairs] or [np.zeros(0)])
    if not len(everything):
        return pairs
    least, span = everything.min(), np.ptp(everything)
    return [(boxes, (scores - least) / span if span > 0 else np.ones_like(scores)) for boxes, scores in pairs]


def best_first(boxes_M4: np.ndarray, scores_M: np.ndarray) -> Prediction:
    """Sorts detections by descending score; equal scores keep their order.

    Raises:
        ValueError: the numbers of boxes and scores differ.
    """
    if len(boxes_M4) != len(scores_M):
        raise ValueError(f"{len(boxes_M4)} detections with {len(scores_M)} scores")
    order = np.argsort(-scores_M, kind="stable")
    return boxes_M4[order], scores_M[order]


def hit_faces(boxes_M4: np.ndarray, faces_N4: np.ndarray) -> np.ndarray:
    """Returns the index of the face that each detection hits, or -1: int, [M].

    The result is empty for an image without faces, which is left out.
    """
    faces_N4 = np.asarray(faces_N4, float).reshape(-1, 4)
    if not len(faces_N4) or not len(boxes_M4):
        return np.zeros(0, int)
    overlap_MN = overlaps(boxes_M4, faces_N4)
    best_M = overlap_MN.argmax(axis=1)
    return np.where(overlap_MN.max(axis=1) >= IOU_THRESHOLD, best_M, -1)


def overlaps(boxes_M4: np.ndarray, faces_N4: np.ndarray) -> np.ndarray:
    """Returns intersection over union, [M, N]; a box from x1 to x2 covers x2 - x1 + 1 pixels."""
    least = np.minimum(boxes_M4[:, None, 2:], faces_N4[None, :, 2:])
    most = np.maximum(boxes_M4[:, None, :2], faces_N4[None, :, :2])
    shared_MN = np.prod(np.clip(least - most + 1, 0, None), axis=2)
    own_M = np.prod(boxes_M4[:, 2:] - boxes_M4[:, :2] + 1, axis=1)
    face_N = np.prod(faces_N4[:, 2:] - faces_N4[:, :2] + 1, axis=1)
    whole_MN = own_M[:, None] + face_N[None, :] - shared_MN
    return np.divide(shared_MN, whole_MN, out=np.zeros_like(shared_MN), where=shared_MN > 0)


def _level(hits: Sequence[np.ndarray], scores: Sequence[np.ndarray], counted: Sequence[np.ndarray]) -> LevelCounts:
    proposals_P1000, found_P1000 = (np.zeros((len(hits), len(THRESHOLDS))) for _ in range(2))
    for place, (hit_M, scores_M, counted_N) in enumerate(zip(hits, scores, counted, strict=True)):
        if not len(hit_M):
            continue
        proposal_M, new_M = judge(hit_M, np.asarray(counted_N, bool))
        down_to = np.searchsorted(-scores_M, -THRESHOLDS, side="right")
        proposals_P1000[place] = np.append(0, np.cumsum(proposal_M))[down_to]
        found_P1000[place] = np.append(0, np.cumsum(new_M))[down_to]
    return LevelCounts(proposals_P1000, found_P1000, np.array([np.count_nonzero(each) for each in counted], float))


def _curve(found: np.ndarray, proposals: np.ndarray, faces: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns recall and precision at each threshold; recall is NaN without a face."""
    precision = np.divide(found, proposals, out=np.zeros_like(found), where=proposals > 0)
    there = np.broadcast_to(np.asarray(faces, float), found.shape)
    return np.divide(found, there, out=np.full_like(found, np.nan), where=there > 0), precision


def judge(hit_M: np.ndarray, counted_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns which detections of one image, best first, are proposals, and which are first hits: bool, [M]."""
    on_counted_M = (hit_M >= 0) & counted_N[hit_M]
    proposal_M = (hit_M < 0) | on_counted_M
    new_M = np.zeros(len(hit_M), bool)
    candidates = np.flatnonzero(on_counted_M)
    new_M[candidates[np.unique(hit_M[candidates], return_index=True)[1]]] = True
    return proposal_M, new_M


def area_under_envelope(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Returns the area under the envelope of precision-recall curves, with points along the last axis in ascending
    order of recall. The envelope is the best precision at or above a recall. NaN if the recall is NaN."""
    around = [(0, 0)] * (recall.ndim - 1)
    steps = np.diff(np.pad(recall, [*around, (1, 1)], constant_values=(0, 1)), axis=-1)
    best_first = np.pad(precision, [*around, (0, 1)])[..., ::-1]
    envelope = np.maximum.accumulate(best_first, axis=-1)[..., ::-1]
    return (steps * envelope).sum(axis=-1)
