"""How far a figure may be trusted: percentile bootstrap over photographs (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Interval:
    least: float
    most: float


def interval(
    statistic: Callable[[np.ndarray], float],
    photographs: int,
    *,
    draws: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Returns the interval that holds `confidence` of a statistic's values over photographs drawn with replacement.

    Photographs are drawn and not faces, because the faces of one photograph are alike.

    Args:
        statistic: takes weights_P, how often each of the photographs was drawn, and gives a number; NaN is left out.
        photographs: how many there are.
        draws: how many samples are drawn.
        seed: equal seeds give equal intervals.
    """
    random = np.random.default_rng(seed)
    values = []
    for _ in range(draws if photographs else 0):
        drawn = random.integers(0, photographs, photographs)
        values.append(statistic(np.bincount(drawn, minlength=photographs).astype(float)))
    kept = np.array([value for value in values if not np.isnan(value)])
    if not len(kept):
        return Interval(float("nan"), float("nan"))
    outside = (1 - confidence) / 2
    least, most = np.quantile(kept, [outside, 1 - outside])
    return Interval(float(least), float(most))
