"""The worst mistakes of a detector: the largest missed faces, and the false alarms with the highest scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation import matching
from mlcycle.evaluation.matches import Matches, Truth


@dataclass(frozen=True, slots=True)
class Miss:
    """A labelled face without a matching detection above the threshold.

    Attributes:
        image, face: index of the image, and of the face among its truths.
        box_4: x1 y1 x2 y2 in pixels.
        score: of the matching detection below the threshold, or NaN without one.
    """

    image: int
    face: int
    box_4: np.ndarray
    score: float


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """A detection that matches no face.

    Attributes:
        image, row: index of the image, and of the detection among those given for it.
        score: of the detection.
    """

    image: int
    row: int
    score: float


def misses(matches: Matches, truths: Sequence[Truth], threshold: float, limit: int) -> list[Miss]:
    """Returns the largest faces that are missed at IoU 0.5, largest first; `truths` are the matched ones."""
    best = [np.full(len(boxes_N4), np.nan) for boxes_N4, _ in truths]
    for detection in np.flatnonzero(matches.right_RTD[0, 0]):
        best[matches.image_D[detection]][matches.face_D[detection]] = matches.scores_D[detection]
    missed = [
        Miss(image, int(face), boxes_N4[face], float(best[image][face]))
        for image, (boxes_N4, ignore_N) in enumerate(truths)
        for face in np.flatnonzero(~ignore_N & ~(best[image] >= threshold))
    ]
    return sorted(missed, key=lambda miss: -matching.areas(miss.box_4[None])[0])[:limit]


def false_alarms(matches: Matches, limit: int) -> list[FalseAlarm]:
    """Returns the detections with the highest scores that match neither a face nor an ignored region."""
    wrong = np.flatnonzero(matches.wrong_RTD[0, 0])[:limit]
    return [
        FalseAlarm(int(matches.image_D[each]), int(matches.row_D[each]), float(matches.scores_D[each]))
        for each in wrong
    ]
