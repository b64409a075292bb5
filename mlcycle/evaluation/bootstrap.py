"""Confidence intervals of metrics: percentile bootstrap over images (Efron, 1979).

Images are drawn, not faces, because the faces of one image are correlated. All samples are drawn at once as weights, so
that a metric that is a sum over images needs one matrix product for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 500
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    least: float
    most: float


def weights(images: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Returns weights_BP: how often each of P images is in each of B samples, drawn with replacement.

    Equal seeds give equal samples. Without images the result is empty.
    """
    random = np.random.default_rng(seed)
    if not images:
        return np.zeros((0, 0))
    drawn_BP = random.integers(0, images, (draws, images))
    return np.array([np.bincount(drawn_P, minlength=images) for drawn_P in drawn_BP], float)


def interval(values_B: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Returns the interval that holds the share `confidence` of a metric's values over the samples, without NaN."""
    kept = np.asarray(values_B, float)
    kept = kept[~np.isnan(kept)]
    if not len(kept):
        return Interval(float("nan"), float("nan"))
    outside = (1 - confidence) / 2
    least, most = np.quantile(kept, [outside, 1 - outside])
    return Interval(float(least), float(most))


def ratio(above_P: np.ndarray, below_P: np.ndarray, weights_BP: np.ndarray) -> Interval:
    """Returns the interval of a ratio of two sums over images."""
    above_B, below_B = weights_BP @ above_P, weights_BP @ below_P
    return interval(np.divide(above_B, below_B, out=np.full_like(below_B, np.nan), where=below_B > 0))
