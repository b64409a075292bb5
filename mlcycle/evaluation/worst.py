"""The worst mistakes of a detector, to be looked at: large faces that it missed, and what it took for a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation import matching
from mlcycle.evaluation.matches import Matches, Truth


@dataclass(frozen=True, slots=True)
class Miss:
    """A labelled face that no detection above the threshold found.

    Attributes:
        image, face: its number, and the face's row in the image's truths.
        box_4: x1 y1 x2 y2 in pixels.
        score: of the detection below the threshold that found it, or NaN where there is none.
    """

    image: int
    face: int
    box_4: np.ndarray
    score: float


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """A detection that found nothing.

    Attributes:
        image, row: its number, and the detection's row among those given for the image.
        score: of the detection.
    """

    image: int
    row: int
    score: float


def misses(matches: Matches, truths: Sequence[Truth], threshold: float, limit: int) -> list[Miss]:
    """Returns the largest faces that were missed at IoU 0.5, largest first; `truths` are those that were matched."""
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
    """Returns the detections with the highest scores that found neither a face nor a region to be ignored."""
    wrong = np.flatnonzero(matches.wrong_RTD[0, 0])[:limit]
    return [
        FalseAlarm(int(matches.image_D[each]), int(matches.row_D[each]), float(matches.scores_D[each]))
        for each in wrong
    ]
