"""COCO's average precision for one class, equal to that of pycocotools, on plain arrays.

Source: Lin et al., "Microsoft COCO: Common Objects in Context" (2014), and the rules of its evaluation: detections are
matched greedily, best score first, at IoU .50 to .95; precision is made monotone and read at 101 recalls. Ignored
regions behave like COCO's crowds: a detection inside one, or matched to one, counts neither way.

There are two steps, so that a metric can be computed for many samples of images without matching again: `match_images`
compares boxes, `summarise` counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation.matches import IOU_THRESHOLDS, Matches, Prediction, Truth, match_images
from mlcycle.evaluation.sizes import BY_AREA, BY_HEIGHT, SizeRange

RECALLS = np.linspace(0.0, 1.0, 101)
# Score bins of `drawn`: with a thousand points the area is exact to three digits.
BINS = 1000


@dataclass(frozen=True, slots=True)
class SizePrecision:
    """Average precision of faces of one size; NaN without such a face.

    `precision_T101` is the monotone precision at the recalls 0, 0.01, … 1 for each IoU threshold .50, .55, … .95.
    """

    ap: float
    ap50: float
    ap75: float
    faces: int
    precision_T101: np.ndarray


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """The result: `ap` is the mean over IoU .50 to .95; NaN (-1 in pycocotools) if no face counts.

    `by_size` holds the same for each requested range of sizes, by its name.
    """

    ap: float
    ap50: float
    ap75: float
    images: int
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
        truths: for each image (boxes_N4, ignore_N): x1 y1 x2 y2 in pixels, and bool, True for a region to ignore.
        predictions: for the same images (boxes_M4, scores_M), in any order.
        max_detections: the number of best detections that count in an image: 100 in COCO; crowds need more.
        ranges: additional ranges of sizes. As in COCO, faces and false alarms of other sizes are ignored in a range.

    Raises:
        ValueError: the two lists, or the arrays of one image, differ in length.
    """
    return summarise(match_images(truths, predictions, max_detections=max_detections, ranges=ranges))


def summarise(matches: Matches, weights_P: np.ndarray | None = None) -> AveragePrecision:
    """Returns the average precision of matches.

    `weights_P` is the number of times that each image is in the sample (of a bootstrap), by default 1.
    """
    weights_P = np.ones(matches.faces_RP.shape[1]) if weights_P is None else weights_P
    weights_D = weights_P[matches.image_D]
    whole, *parts = (
        _size_precision(right_TD, wrong_TD, weights_D, float(faces_P @ weights_P))
        for right_TD, wrong_TD, faces_P in zip(matches.right_RTD, matches.wrong_RTD, matches.faces_RP, strict=True)
    )
    by_size = {size.name: part for size, part in zip(matches.ranges[1:], parts, strict=True)}
    images = int(weights_P.sum())
    return AveragePrecision(whole.ap, whole.ap50, whole.ap75, images, whole.faces, whole.precision_T101, by_size)


def drawn(matches: Matches, weights_BP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns ap_B and ap50_B of all sizes over B samples of the images, for an interval; NaN without a face.

    Detections are first grouped into bins of similar scores, so that a sample needs a matrix product but no sorting.
    """
    right_TD, wrong_TD = matches.right_RTD[0], matches.wrong_RTD[0]
    faces_B = weights_BP @ matches.faces_RP[0]
    shape = (matches.faces_RP.shape[1], BINS)
    cell_D = matches.image_D * BINS + _bins(right_TD[0])
    ap_TB = np.full((len(right_TD), len(weights_BP)), np.nan)
    weights_BP = weights_BP.astype(np.float32)
    for ap_B, right_D, wrong_D in zip(ap_TB, right_TD, wrong_TD, strict=True):
        right_BK, wrong_BK = (
            np.cumsum(
                weights_BP @ np.bincount(cell_D, marks_D, shape[0] * shape[1]).reshape(shape).astype("f4"), axis=1
            )
            for marks_D in (right_D, wrong_D)
        )
        for sample in np.flatnonzero(faces_B):
            ap_B[sample] = precision_at_recalls(right_BK[sample], wrong_BK[sample], faces_B[sample]).mean()
    return ap_TB.mean(axis=0), ap_TB[0]


def _bins(right_D: np.ndarray) -> np.ndarray:
    """Returns the bin of each detection, best first; all bins have about the same number of right detections."""
    before_D = np.cumsum(right_D) - right_D
    return before_D * BINS // max(1, int(right_D.sum()) + 1)


def _size_precision(right_TD: np.ndarray, wrong_TD: np.ndarray, weights_D: np.ndarray, faces: float) -> SizePrecision:
    if faces == 0:
        empty_T101 = np.full((len(IOU_THRESHOLDS), len(RECALLS)), np.nan)
        return SizePrecision(np.nan, np.nan, np.nan, 0, empty_T101)
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
        right_D, wrong_D: cumulative numbers of right and wrong detections, best score first.
        faces: the number of labelled faces.

    Returns:
        The best precision at or above each recall 0, 0.01, … 1; 0 at recalls that are not reached.
    """
    precision_D = right_D / np.maximum(right_D + wrong_D, np.spacing(1))
    envelope_D = np.maximum.accumulate(precision_D[::-1])[::-1]
    first = np.searchsorted(right_D / faces, RECALLS, side="left")
    return np.append(envelope_D, 0.0)[first]
