"""Matches of detections with labels for all images of a set: the base of every metric except WIDER's own.

The rules are COCO's; see mlcycle.evaluation.coco.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation import matching
from mlcycle.evaluation.sizes import ALL, BY_AREA, BY_HEIGHT, SizeRange

Truth = tuple[np.ndarray, np.ndarray]
Prediction = tuple[np.ndarray, np.ndarray]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Images that are matched in one batch: enough for speed, few enough for memory.
IMAGES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Matches:
    """The matches of P images with D detections in total, best score first.

    Attributes:
        ranges: the R ranges of sizes.
        scores_D: float64.
        image_D: index of the image of a detection.
        row_D: index of the detection among those given for its image.
        face_D: index of the truth that it matches at the lowest IoU threshold, of any size, or -1.
        right_RTD: bool, for each range and each of T IoU thresholds: it matches a face that counts.
        wrong_RTD: bool: it matches nothing. A detection that is neither right nor wrong counts neither way.
        faces_RP: number of faces that count.
    """

    ranges: tuple[SizeRange, ...]
    scores_D: np.ndarray
    image_D: np.ndarray
    row_D: np.ndarray
    face_D: np.ndarray
    right_RTD: np.ndarray
    wrong_RTD: np.ndarray
    faces_RP: np.ndarray


def match_images(
    truths: Sequence[Truth],
    predictions: Sequence[Prediction],
    *,
    max_detections: int = 100,
    ranges: Sequence[SizeRange] = BY_AREA + BY_HEIGHT,
) -> Matches:
    """Compares the boxes; arguments and errors as in `coco.average_precision`.

    The range "all" is added as the first.
    """
    if len(truths) != len(predictions):
        raise ValueError(f"{len(truths)} images have truths and {len(predictions)} have predictions")
    images = [_image(truth, prediction, max_detections) for truth, prediction in zip(truths, predictions, strict=True)]
    parts = [
        _match_several(images[first : first + IMAGES_AT_ONCE], first, (ALL, *ranges))
        for first in range(0, max(1, len(images)), IMAGES_AT_ONCE)
    ]
    return _best_first(parts)


def of_images(matches: Matches, chosen_P: np.ndarray) -> Matches:
    """Returns the matches of some images (bool, [P]), of all sizes only; image indices stay the same."""
    return _some(matches, chosen_P[matches.image_D], matches.faces_RP[:1] * chosen_P)


def first_detections(matches: Matches, number: int) -> Matches:
    """Returns the matches of the `number` best detections, of all sizes only."""
    return _some(matches, slice(number), matches.faces_RP[:1])


def _some(matches: Matches, chosen_D: np.ndarray | slice, faces_1P: np.ndarray) -> Matches:
    return Matches(
        matches.ranges[:1],
        matches.scores_D[chosen_D],
        matches.image_D[chosen_D],
        matches.row_D[chosen_D],
        matches.face_D[chosen_D],
        matches.right_RTD[:1, :, chosen_D],
        matches.wrong_RTD[:1, :, chosen_D],
        faces_1P,
    )


@dataclass(frozen=True, slots=True)
class _Image:
    """The truths of one image and its detections, best score first; `row_M` is their original index."""

    truth_N4: np.ndarray
    ignore_N: np.ndarray
    boxes_M4: np.ndarray
    scores_M: np.ndarray
    row_M: np.ndarray

    def near(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns detection, truth and overlap of each pair that can be matched."""
        overlap_MN = matching.overlaps(self.boxes_M4, self.truth_N4, self.ignore_N)
        detection_K, truth_K = np.nonzero(overlap_MN >= IOU_THRESHOLDS[0])
        return detection_K, truth_K, overlap_MN[detection_K, truth_K]


def _image(truth: Truth, prediction: Prediction, max_detections: int) -> _Image:
    truth_N4, ignore_N = np.asarray(truth[0], float).reshape(-1, 4), np.asarray(truth[1], bool).reshape(-1)
    boxes_M4, scores_M = np.asarray(prediction[0], float).reshape(-1, 4), np.asarray(prediction[1], float).reshape(-1)
    if len(truth_N4) != len(ignore_N) or len(boxes_M4) != len(scores_M):
        raise ValueError(
            f"{len(truth_N4)} boxes with {len(ignore_N)} ignore marks, "
            f"{len(boxes_M4)} detections with {len(scores_M)} scores"
        )
    best = np.argsort(-scores_M, kind="stable")[:max_detections]
    return _Image(truth_N4, ignore_N, boxes_M4[best], scores_M[best], best)


def _match_several(images: list[_Image], first: int, ranges: tuple[SizeRange, ...]) -> Matches:
    """Matches images in one batch, as one list of truths and one of detections; `first` is the first image's index."""
    truth_N4 = np.concatenate([each.truth_N4 for each in images] or [np.zeros((0, 4))])
    boxes_M4 = np.concatenate([each.boxes_M4 for each in images] or [np.zeros((0, 4))])
    ignore_N = _joined([each.ignore_N for each in images], bool)
    truths = np.array([len(each.truth_N4) for each in images], int)
    detections = np.array([len(each.boxes_M4) for each in images], int)
    aside_RN = np.array([ignore_N | ~size.holds(truth_N4) for size in ranges])
    pairs = _pairs(images, truths, detections)
    taken_RTM = matching.match(pairs, len(boxes_M4), ignore_N, aside_RN, IOU_THRESHOLDS)
    counts_RTM = np.array([~aside[taken] for aside, taken in zip(_padded(aside_RN), taken_RTM, strict=True)])
    of_size_RM = np.array([size.holds(boxes_M4) for size in ranges])
    place_M = np.repeat(np.arange(len(images)), detections)
    before_M = np.repeat(np.cumsum(truths) - truths, detections)
    return Matches(
        ranges,
        _joined([each.scores_M for each in images], float),
        first + place_M,
        _joined([each.row_M for each in images], int),
        np.where(taken_RTM[0, 0] < 0, -1, taken_RTM[0, 0] - before_M),
        (taken_RTM >= 0) & counts_RTM,
        (taken_RTM < 0) & of_size_RM[:, None, :],
        _sums(~aside_RN, truths),
    )


def _pairs(images: list[_Image], truths: np.ndarray, detections: np.ndarray) -> matching.Pairs:
    near = [each.near() for each in images]
    found = np.array([len(overlap_K) for _, _, overlap_K in near], int)
    return matching.Pairs(
        _joined([each[0] for each in near], int) + np.repeat(np.cumsum(detections) - detections, found),
        _joined([each[1] for each in near], int) + np.repeat(np.cumsum(truths) - truths, found),
        _joined([each[2] for each in near], float),
    )


def _best_first(parts: list[Matches]) -> Matches:
    scores_D = np.concatenate([each.scores_D for each in parts])
    order = np.argsort(-scores_D, kind="stable")
    return Matches(
        parts[0].ranges,
        scores_D[order],
        np.concatenate([each.image_D for each in parts])[order],
        np.concatenate([each.row_D for each in parts])[order],
        np.concatenate([each.face_D for each in parts])[order],
        np.concatenate([each.right_RTD for each in parts], axis=2)[..., order],
        np.concatenate([each.wrong_RTD for each in parts], axis=2)[..., order],
        np.concatenate([each.faces_RP for each in parts], axis=1),
    )


def _joined(arrays: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *arrays])


def _padded(aside_RN: np.ndarray) -> np.ndarray:
    """Adds a truth that does not count, for detections without a truth, whose index is -1."""
    return np.pad(aside_RN, ((0, 0), (0, 1)), constant_values=True)


def _sums(marks_RN: np.ndarray, lengths_P: np.ndarray) -> np.ndarray:
    """Sums marks over consecutive pieces of these lengths: int, [R, P]."""
    totals = np.pad(np.cumsum(marks_RN, axis=1), ((0, 0), (1, 0)))
    ends = np.cumsum(lengths_P)
    return totals[:, ends] - totals[:, ends - lengths_P]
