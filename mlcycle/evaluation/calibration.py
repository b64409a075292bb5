"""Calibration of scores at IoU 0.5: of the detections with scores of about 0.8, are 80 % faces?

The expected calibration error (Naeini, Cooper and Hauskrecht, 2015) is the mean difference between score and share over
bins of equal width, weighted by their detections. Detections that count neither way, as in an ignored region, are left
out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation.matches import Matches

BINS = 10
# Standard errors of a 95 % interval.
Z = 1.96


@dataclass(frozen=True, slots=True)
class Bin:
    """Detections with scores from `least` to `most`: their number, how many are right, and their mean score."""

    least: float
    most: float
    detections: int
    right: int
    score: float

    @property
    def share(self) -> float:
        return self.right / self.detections

    def interval(self) -> tuple[float, float]:
        """Returns the 95 % interval of the share, by Wilson (1927)."""
        number, squared = self.detections, Z**2
        middle = (self.right + squared / 2) / (number + squared)
        spread = Z * math.sqrt(self.share * (1 - self.share) * number + squared / 4) / (number + squared)
        return max(0.0, middle - spread), min(1.0, middle + spread)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The bins with detections, lowest first, and the expected calibration error; NaN without detections."""

    bins: tuple[Bin, ...]
    error: float


def calibrate(matches: Matches) -> Calibration:
    """Compares scores with the share of right detections."""
    right_D = matches.right_RTD[0, 0]
    judged_D = right_D | matches.wrong_RTD[0, 0]
    scores_J, right_J = matches.scores_D[judged_D], right_D[judged_D]
    place_J = np.minimum((scores_J * BINS).astype(int), BINS - 1)
    bins = []
    for place in np.unique(place_J).tolist():
        here_J = place_J == place
        mean = float(scores_J[here_J].mean())
        bins.append(Bin(place / BINS, (place + 1) / BINS, int(here_J.sum()), int(right_J[here_J].sum()), mean))
    distance = sum(each.detections * abs(each.share - each.score) for each in bins)
    return Calibration(tuple(bins), distance / len(scores_J) if bins else float("nan"))
