"""COCO's average precision, for one class: the number that pycocotools gives, on plain arrays and fast.

Source: Lin et al., "Microsoft COCO: Common Objects in Context" (2014), and the rules of its evaluation: detections are
matched greedily, best score first, at IoU .50 to .95; precision is made monotone and read at 101 recalls. Regions to be
ignored behave as COCO's crowds: a detection inside one, or matched to one, counts neither way.

The work has two steps, so that a statistic can be repeated over many draws of photographs without matching again:
`match_photographs` compares boxes, `summarise` counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlcycle.evaluation import matching

Truth = tuple[np.ndarray, np.ndarray]
Prediction = tuple[np.ndarray, np.ndarray]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Which faces count: those whose area (square pixels) or height (pixels) lies between two values, both included."""

    name: str
    least: float
    most: float
    measure: Literal["area", "height"] = "area"

    def holds(self, boxes_N4: np.ndarray) -> np.ndarray:
        """Returns for each box (x1 y1 x2 y2) whether it is of this size."""
        size_N = matching.areas(boxes_N4) if self.measure == "area" else boxes_N4[:, 3] - boxes_N4[:, 1]
        return (size_N >= self.least) & (size_N <= self.most)


def _below(value: float) -> float:
    return float(np.nextafter(value, 0))


ALL = SizeRange("all", 0, 1e10)
BY_AREA = (
    SizeRange("small", 0, 32**2),
    SizeRange("medium", 32**2, 96**2),
    SizeRange("large", 96**2, 1e10),
)
BY_HEIGHT = (
    SizeRange("<16 px", 0, _below(16), "height"),
    SizeRange("16-32 px", 16, _below(32), "height"),
    SizeRange("32-96 px", 32, _below(96), "height"),
    SizeRange(">=96 px", 96, 1e10, "height"),
)


@dataclass(frozen=True, slots=True)
class Matches:
    """What comparing boxes gave, over P photographs with D detections in all, best score first.

    Attributes:
        ranges: the R ranges of sizes.
        scores_D: float64.
        photograph_D: which photograph a detection is of.
        right_RTD: bool, for each range and each of T IoU thresholds: it found a face that counts.
        wrong_RTD: bool: it found nothing. Neither right nor wrong: it counts neither way.
        faces_RP: how many faces count.
    """

    ranges: tuple[SizeRange, ...]
    scores_D: np.ndarray
    photograph_D: np.ndarray
    right_RTD: np.ndarray
    wrong_RTD: np.ndarray
    faces_RP: np.ndarray


@dataclass(frozen=True, slots=True)
class SizePrecision:
    """Average precision of faces of one size; NaN where there is no such face.

    `precision_T101` is the monotone precision at the recalls 0, 0.01, … 1 for each IoU threshold .50, .55, … .95.
    """

    ap: float
    ap50: float
    ap75: float
    faces: int
    precision_T101: np.ndarray


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """The result: `ap` is the mean over IoU .50 to .95; NaN (pycocotools says -1) where no face counts.

    `by_size` holds the same for each range of sizes asked for, by its name.
    """

    ap: float
    ap50: float
    ap75: float
    photographs: int
    faces: int
    precision_T101: np.ndarray
    by_size: dict[str, SizePrecision]


def average_precision(
    truths: Sequence[Truth],
    predictions: Sequence[Prediction],
    *,
    max_detections: int = 100,
    ranges: Sequence[SizeRange] = BY_AREA + BY_HEIGHT,
) -> AveragePrecision:
    """Measures detections against truths as COCO does.

    Args:
        truths: for each photograph (boxes_N4, ignore_N): x1 y1 x2 y2 in pixels, and bool, True for a region to ignore.
        predictions: for the same photographs (boxes_M4, scores_M), in any order.
        max_detections: how many, by score, count in a photograph: 100 in COCO; photographs of crowds need more.
        ranges: the ranges of sizes reported beside the whole. As in COCO, in a range a face of another size is set
            aside, and so is a false alarm of another size.

    Raises:
        ValueError: the two lists differ in length, or arrays of one photograph do not fit together.
    """
    return summarise(match_photographs(truths, predictions, max_detections=max_detections, ranges=ranges))


def match_photographs(
    truths: Sequence[Truth],
    predictions: Sequence[Prediction],
    *,
    max_detections: int = 100,
    ranges: Sequence[SizeRange] = BY_AREA + BY_HEIGHT,
) -> Matches:
    """Compares the boxes; arguments and errors as in `average_precision`. The range "all" is put before the others."""
    if len(truths) != len(predictions):
        raise ValueError(f"{len(truths)} photographs have truths and {len(predictions)} have predictions")
    all_ranges = (ALL, *ranges)
    photographs = [
        _match_one(truth, prediction, max_detections, all_ranges)
        for truth, prediction in zip(truths, predictions, strict=True)
    ]
    scores_D, right_RTD, wrong_RTD = (
        np.concatenate([each[part] for each in photographs] or [empty], axis=-1)
        for part, empty in enumerate(_nothing(len(all_ranges)))
    )
    photograph_D = np.repeat(np.arange(len(photographs)), [len(each[0]) for each in photographs])
    order = np.argsort(-scores_D, kind="stable")
    faces_RP = np.array([each[3] for each in photographs], int).reshape(len(photographs), len(all_ranges)).T
    return Matches(
        all_ranges, scores_D[order], photograph_D[order], right_RTD[..., order], wrong_RTD[..., order], faces_RP
    )


def summarise(matches: Matches, weights_P: np.ndarray | None = None) -> AveragePrecision:
    """Counts: average precision of matches.

    `weights_P` says how often each photograph is in the sample (a bootstrap draw); by default each once.
    """
    weights_P = np.ones(matches.faces_RP.shape[1]) if weights_P is None else weights_P
    weights_D = weights_P[matches.photograph_D]
    whole, *parts = (
        _size_precision(right_TD, wrong_TD, weights_D, float(faces_P @ weights_P))
        for right_TD, wrong_TD, faces_P in zip(matches.right_RTD, matches.wrong_RTD, matches.faces_RP, strict=True)
    )
    by_size = {size.name: part for size, part in zip(matches.ranges[1:], parts, strict=True)}
    photographs = int(weights_P.sum())
    return AveragePrecision(whole.ap, whole.ap50, whole.ap75, photographs, whole.faces, whole.precision_T101, by_size)


def _match_one(
    truth: Truth, prediction: Prediction, max_detections: int, ranges: tuple[SizeRange, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    truth_N4, ignore_N = np.asarray(truth[0], float).reshape(-1, 4), np.asarray(truth[1], bool).reshape(-1)
    boxes_M4, scores_M = np.asarray(prediction[0], float).reshape(-1, 4), np.asarray(prediction[1], float).reshape(-1)
    if len(truth_N4) != len(ignore_N) or len(boxes_M4) != len(scores_M):
        raise ValueError(
            f"{len(truth_N4)} boxes with {len(ignore_N)} ignore marks, "
            f"{len(boxes_M4)} detections with {len(scores_M)} scores"
        )
    best = np.argsort(-scores_M, kind="stable")[:max_detections]
    boxes_M4, scores_M = boxes_M4[best], scores_M[best]
    aside_RN = np.array([ignore_N | ~size.holds(truth_N4) for size in ranges]).reshape(len(ranges), len(truth_N4))
    other_size_RM = np.array([~size.holds(boxes_M4) for size in ranges]).reshape(len(ranges), len(boxes_M4))
    overlap_MN = matching.overlaps(boxes_M4, truth_N4, ignore_N)
    found_RTM, aside_RTM = matching.match(overlap_MN, ignore_N, aside_RN, IOU_THRESHOLDS)
    right_RTM = found_RTM & ~aside_RTM
    wrong_RTM = ~found_RTM & ~other_size_RM[:, None, :]
    return scores_M, right_RTM, wrong_RTM, (~aside_RN).sum(axis=1)


def _nothing(ranges: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outcomes = np.zeros((ranges, len(IOU_THRESHOLDS), 0), bool)
    return np.zeros(0), outcomes, outcomes


def _size_precision(right_TD: np.ndarray, wrong_TD: np.ndarray, weights_D: np.ndarray, faces: float) -> SizePrecision:
    if faces == 0:
        nowhere = np.full((len(IOU_THRESHOLDS), len(RECALLS)), np.nan)
        return SizePrecision(np.nan, np.nan, np.nan, 0, nowhere)
    precision_T101 = np.array(
        [
            precision_at_recalls(np.cumsum(right_D * weights_D), np.cumsum(wrong_D * weights_D), faces)
            for right_D, wrong_D in zip(right_TD, wrong_TD, strict=True)
        ]
    )
    ap_T = precision_T101.mean(axis=1)
    return SizePrecision(float(precision_T101.mean()), float(ap_T[0]), float(ap_T[5]), int(faces), precision_T101)


def precision_at_recalls(right_D: np.ndarray, wrong_D: np.ndarray, faces: float) -> np.ndarray:
    """Reads a precision-recall curve at COCO's 101 recalls.

    Args:
        right_D, wrong_D: how many detections were right and wrong down to each one, best score first.
        faces: how many there were to find.

    Returns:
        The best precision at each recall 0, 0.01, … 1 or beyond; 0 at recalls that are not reached.
    """
    precision_D = right_D / np.maximum(right_D + wrong_D, np.spacing(1))
    envelope_D = np.maximum.accumulate(precision_D[::-1])[::-1]
    first = np.searchsorted(right_D / faces, RECALLS, side="left")
    return np.append(envelope_D, 0.0)[first]
