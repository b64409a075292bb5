"""Measured service times: the milliseconds that a request spends in work, without waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Requests whose random numbers are drawn at once, and that follow each other in the measurement: some seconds of a busy
# worker, so that a slow moment of the machine stays one, and enough to be fast.
BLOCK = 256


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """A sample that keeps its order.

    Draws are runs of consecutive values (the circular block bootstrap of Politis and Romano, 1992). Independent draws
    would give too short queues: a machine is slow for a while, and then many requests in a row take long.

    Attributes:
        series_N: milliseconds, in the order in which requests were completed.
    """

    series_N: np.ndarray

    @property
    def mean(self) -> float:
        """Returns the mean, in milliseconds."""
        return float(self.series_N.mean())

    @property
    def squared_variation(self) -> float:
        """Returns the variance divided by the squared mean."""
        return float(self.series_N.var()) / self.mean**2

    def at(self, share: float) -> float:
        """Returns the milliseconds that this share of the requests does not exceed."""
        return float(np.quantile(self.series_N, share))

    def draw(self, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Returns milliseconds: each column is a run of consecutive values, from a random one on."""
        starts_C = generator.integers(len(self.series_N), size=shape[1])
        return self.series_N[(starts_C + np.arange(shape[0])[:, None]) % len(self.series_N)]

    def stream(self, generator: np.random.Generator) -> Iterator[float]:
        """Yields milliseconds without end: run after run."""
        while True:
            yield from self.draw(generator, (BLOCK, 1))[:, 0].tolist()


def pooled(each: Sequence[ServiceTimes]) -> ServiceTimes:
    """Returns one sample of several, each with the weight of its requests."""
    return ServiceTimes(np.concatenate([one.series_N for one in each]))
