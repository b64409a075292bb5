"""Measured service times: the milliseconds that a request spends in work, without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """A distribution given by its quantiles.

    Attributes:
        quantiles_Q: milliseconds, at shares of 0 to 1 in equal steps; in between they are interpolated linearly.
    """

    quantiles_Q: np.ndarray

    @property
    def mean(self) -> float:
        """Returns the mean, in milliseconds."""
        return float(np.trapezoid(self.quantiles_Q) / (len(self.quantiles_Q) - 1))

    @property
    def squared_variation(self) -> float:
        """Returns the variance divided by the squared mean."""
        low_P, high_P = self.quantiles_Q[:-1], self.quantiles_Q[1:]
        second_moment = float(np.mean((low_P**2 + low_P * high_P + high_P**2) / 3))
        return max(0.0, second_moment / self.mean**2 - 1)

    def at(self, share: float) -> float:
        """Returns the milliseconds that this share of the requests does not exceed."""
        return float(np.interp(share, np.linspace(0, 1, len(self.quantiles_Q)), self.quantiles_Q))

    def draw(self, generator: np.random.Generator, shape: int | tuple[int, int]) -> np.ndarray:
        """Returns independent draws of the given shape, in milliseconds."""
        places = generator.random(shape) * (len(self.quantiles_Q) - 1)
        lower = places.astype(np.intp)
        steps_P = np.diff(self.quantiles_Q)
        return self.quantiles_Q[lower] + (places - lower) * steps_P[lower]


def pooled(each: Sequence[ServiceTimes]) -> ServiceTimes:
    """Returns the distribution of requests that come equally often from each of several distributions."""
    if len(each) == 1:
        return each[0]
    levels_Q = np.linspace(0, 1, len(each[0].quantiles_Q))
    fine_F = np.linspace(0, 1, 20 * len(levels_Q))
    values = np.concatenate([np.interp(fine_F, levels_Q, one.quantiles_Q) for one in each])
    return ServiceTimes(np.quantile(values, levels_Q))
