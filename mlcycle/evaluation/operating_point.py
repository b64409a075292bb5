"""Operating points: recall and false alarms of a detector at a threshold, at IoU 0.5.

A threshold that is stored is rounded to thousandths, because the last bits of scores differ between processors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation import bootstrap
from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.matches import Matches, first_detections, of_images


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """`recall` is the share of the faces that count (NaN without faces), `false_alarms` the number per image.

    `threshold` is the lowest accepted score; infinite if nothing is accepted.
    """

    threshold: float
    recall: float
    false_alarms: float


@dataclass(frozen=True, slots=True)
class FaceFree:
    """False alarms on images without faces and ignored regions.

    Attributes:
        images: their number.
        given: the operating point at the given threshold; `given_interval` is the interval of its false alarms per
            image.
        allowed: the operating point of the lowest threshold within the allowed false alarms.
    """

    images: int
    given: OperatingPoint
    given_interval: Interval
    allowed: OperatingPoint


def at_threshold(matches: Matches, threshold: float, weights_P: np.ndarray | None = None) -> OperatingPoint:
    """Returns the operating point that accepts every detection with a score of at least `threshold`.

    `weights_P` is the number of times that each image is in the sample, by default 1.
    """
    right_D, wrong_D, faces, images = _counts(matches, weights_P)
    accepted = int(np.searchsorted(-matches.scores_D, -threshold, side="right"))
    return _point(threshold, float(right_D[accepted]), float(wrong_D[accepted]), faces, images)


def threshold_intervals(matches: Matches, threshold: float, weights_BP: np.ndarray) -> tuple[Interval, Interval]:
    """Returns the intervals of recall and of false alarms per image at a threshold, over samples of images."""
    accepted_D = matches.scores_D >= threshold
    faces_P = matches.faces_RP[0]
    right_P, wrong_P = (
        np.bincount(matches.image_D[marks_D & accepted_D], minlength=len(faces_P))
        for marks_D in (matches.right_RTD[0, 0], matches.wrong_RTD[0, 0])
    )
    recall = bootstrap.ratio(right_P, faces_P, weights_BP)
    return recall, bootstrap.ratio(wrong_P, np.ones(len(faces_P)), weights_BP)


def at_false_alarms(matches: Matches, per_image: float, weights_P: np.ndarray | None = None) -> OperatingPoint:
    """Returns the operating point of highest recall with at most `per_image` false alarms per image.

    Of detections with equal scores all are accepted or none.
    """
    right_D, wrong_D, faces, images = _counts(matches, weights_P)
    ends = np.append(0, np.flatnonzero(np.append(np.diff(matches.scores_D) != 0, True)) + 1)
    ends = ends[ends <= len(matches.scores_D)]
    # Tolerates rounding: ten false alarms in a hundred images are not more than 0.1 per image.
    allowed = ends[wrong_D[ends] <= per_image * images + 1e-9]
    accepted = int(allowed[-1])
    threshold = float(matches.scores_D[accepted - 1]) if accepted else float("inf")
    return _point(threshold, float(right_D[accepted]), float(wrong_D[accepted]), faces, images)


def false_alarms_interval(matches: Matches, per_image: float, weights_BP: np.ndarray) -> Interval:
    """Returns the interval of the recall of `at_false_alarms` over samples of the images."""
    # Most samples reach the allowed false alarms long before the last detection, so the first detections suffice.
    allowed = per_image * matches.faces_RP.shape[1]
    wrong_D = matches.wrong_RTD[0, 0]
    first = first_detections(matches, int(np.searchsorted(np.cumsum(wrong_D), 3 * allowed + 10)) + 1)
    alarms_P = np.bincount(first.image_D[first.wrong_RTD[0, 0]], minlength=matches.faces_RP.shape[1])
    recalls_B = [
        at_false_alarms(first if alarms > allowed + 1e-9 else matches, per_image, weights_P).recall
        for weights_P, alarms in zip(weights_BP, weights_BP @ alarms_P, strict=True)
    ]
    return bootstrap.interval(np.array(recalls_B))


def on_face_free(matches: Matches, empty_P: np.ndarray, threshold: float, allowed: float) -> FaceFree:
    """Measures false alarms on images without a face.

    Args:
        empty_P: bool, the images without faces and ignored regions.
        threshold: of `given`.
        allowed: false alarms per image of `allowed`.
    """
    some, sample_P = of_images(matches, empty_P), empty_P.astype(float)
    accepted = some.image_D[some.scores_D >= threshold]
    alarms_P = np.bincount(accepted, minlength=len(empty_P))[empty_P]
    weights_BP = bootstrap.weights(len(alarms_P))
    return FaceFree(
        len(alarms_P),
        at_threshold(some, threshold, sample_P),
        bootstrap.ratio(alarms_P, np.ones(len(alarms_P)), weights_BP),
        at_false_alarms(some, allowed, sample_P),
    )


def thousandths(least: float) -> np.ndarray:
    """Returns candidate thresholds_K: ascending thousandths from the first that is not below `least` to 1."""
    return np.arange(int(np.ceil(least * 1000 - 1e-9)), 1001) / 1000


def best_f1(matches: Matches, thresholds_K: np.ndarray) -> OperatingPoint | None:
    """Returns the operating point of the best F1, the harmonic mean of precision and recall; None without a detected
    face.

    Of equally good thresholds it is the middle of the longest interval, which is farthest from any change.
    """
    right_D, wrong_D, faces, _ = _counts(matches, None)
    accepted_K = _accepted(matches, thresholds_K)
    right_K, wrong_K = right_D[accepted_K], wrong_D[accepted_K]
    f1_K = 2 * right_K / np.maximum(right_K + wrong_K + faces, 1)
    if not right_K.any():
        return None
    # A new interval starts where the value changes.
    rows = np.split(np.arange(len(f1_K)), np.flatnonzero(np.diff(f1_K)) + 1)
    longest = max((row for row in rows if f1_K[row[0]] == f1_K.max()), key=len)
    return at_threshold(matches, float(thresholds_K[longest[(len(longest) - 1) // 2]]))


def lowest(matches: Matches, thresholds_K: np.ndarray, per_image: float) -> OperatingPoint | None:
    """Returns the lowest threshold with at most `per_image` false alarms per image; None if there is none."""
    _, wrong_D, _, images = _counts(matches, None)
    allowed_K = wrong_D[_accepted(matches, thresholds_K)] <= per_image * images + 1e-9
    return at_threshold(matches, float(thresholds_K[int(allowed_K.argmax())])) if allowed_K.any() else None


def precision(matches: Matches, threshold: float) -> float:
    """Returns the precision of the accepted detections at a threshold; NaN if none is accepted."""
    right_D, wrong_D, _, _ = _counts(matches, None)
    (accepted,) = _accepted(matches, np.array([threshold]))
    both = right_D[accepted] + wrong_D[accepted]
    return float(right_D[accepted] / both) if both else float("nan")


def _accepted(matches: Matches, thresholds_K: np.ndarray) -> np.ndarray:
    """Returns the number of detections with a score of at least each threshold."""
    return np.searchsorted(-matches.scores_D, -thresholds_K, side="right")


def _counts(matches: Matches, weights_P: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Cumulative counts, from none accepted to all, of all sizes at the lowest IoU threshold."""
    weights_P = np.ones(matches.faces_RP.shape[1]) if weights_P is None else weights_P
    weights_D = weights_P[matches.image_D]
    right_D = np.append(0, np.cumsum(matches.right_RTD[0, 0] * weights_D))
    wrong_D = np.append(0, np.cumsum(matches.wrong_RTD[0, 0] * weights_D))
    return right_D, wrong_D, float(matches.faces_RP[0] @ weights_P), float(weights_P.sum())


def _point(threshold: float, right: float, wrong: float, faces: float, images: float) -> OperatingPoint:
    recall = right / faces if faces else float("nan")
    return OperatingPoint(threshold, recall, wrong / images if images else float("nan"))
