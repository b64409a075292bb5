"""What a detector does at one threshold: the faces it finds, and the false alarms it costs. At IoU 0.5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation.coco import Matches


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """`recall` is a share of the faces that count (NaN where there is none), `false_alarms` a number per photograph.

    `threshold` is the least score accepted; infinite where nothing is.
    """

    threshold: float
    recall: float
    false_alarms: float


def at_threshold(matches: Matches, threshold: float, weights_P: np.ndarray | None = None) -> OperatingPoint:
    """Returns what comes of accepting every detection scored at least `threshold`.

    `weights_P` says how often each photograph is in the sample; by default each once.
    """
    right_D, wrong_D, faces, photographs = _counts(matches, weights_P)
    accepted = int(np.searchsorted(-matches.scores_D, -threshold, side="right"))
    return _point(threshold, float(right_D[accepted]), float(wrong_D[accepted]), faces, photographs)


def at_false_alarms(matches: Matches, per_photograph: float, weights_P: np.ndarray | None = None) -> OperatingPoint:
    """Returns the point of most recall with at most so many false alarms per photograph (0.1: one in ten photographs).

    Detections of equal score are accepted together or not at all.
    """
    right_D, wrong_D, faces, photographs = _counts(matches, weights_P)
    ends = np.append(0, np.flatnonzero(np.append(np.diff(matches.scores_D) != 0, True)) + 1)
    ends = ends[ends <= len(matches.scores_D)]
    # A rounding error must not turn ten false alarms in a hundred photographs into more than a tenth.
    allowed = ends[wrong_D[ends] <= per_photograph * photographs + 1e-9]
    accepted = int(allowed[-1])
    threshold = float(matches.scores_D[accepted - 1]) if accepted else float("inf")
    return _point(threshold, float(right_D[accepted]), float(wrong_D[accepted]), faces, photographs)


def _counts(matches: Matches, weights_P: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Cumulative counts, from none accepted to all, of all sizes at the lowest IoU threshold."""
    weights_P = np.ones(matches.faces_RP.shape[1]) if weights_P is None else weights_P
    weights_D = weights_P[matches.photograph_D]
    right_D = np.append(0, np.cumsum(matches.right_RTD[0, 0] * weights_D))
    wrong_D = np.append(0, np.cumsum(matches.wrong_RTD[0, 0] * weights_D))
    return right_D, wrong_D, float(matches.faces_RP[0] @ weights_P), float(weights_P.sum())


def _point(threshold: float, right: float, wrong: float, faces: float, photographs: float) -> OperatingPoint:
    recall = right / faces if faces else float("nan")
    return OperatingPoint(threshold, recall, wrong / photographs if photographs else float("nan"))
