"""Replicas whose arrivals do not depend on how busy they are: all at once, as columns of numpy arrays.

The recursion of Kiefer and Wolfowitz (On the theory of queues with many servers, 1955): a request starts when it has
arrived and the worker that is free first is free. Each step is the next arrival at every replica.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcycle.planning.service_times import BLOCK
from mlcycle.planning.station import Station

# (generator, shape) → milliseconds between arrivals at one replica.
Gaps = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def latencies(
    station: Station, gaps: Gaps, replicas: int, *, warmup: int, steps: int, generator: np.random.Generator
) -> np.ndarray:
    """Simulates replicas that are empty at first.

    Args:
        warmup: arrivals at each replica that are left out of the result.
        steps: arrivals at each replica after that.

    Returns:
        latencies_SR: milliseconds from arrival to completion, by step and replica; inf if rejected.
    """
    state = _State(station, replicas)
    latencies_SR = np.empty((steps, replicas))
    for first in range(-warmup, steps, BLOCK):
        count = min(BLOCK, steps - first)
        gaps_BR = gaps(generator, (count, replicas))
        service_BR = station.service.draw(generator, (count, replicas))
        for place in range(count):
            latencies_R = state.arrive(gaps_BR[place], service_BR[place])
            if first + place >= 0:
                latencies_SR[first + place] = latencies_R
    return latencies_SR


class _State:
    """The workers and queues of all replicas at the time of their latest arrivals."""

    def __init__(self, station: Station, replicas: int) -> None:
        self._queue = station.queue
        self._columns_R = np.arange(replicas)
        self._now_R = np.zeros(replicas)
        self._free_WR = np.zeros((station.workers, replicas))  # when each worker is free
        # Start times of the latest accepted requests, as a ring.
        self._starts_LR = np.full((max(station.queue or 0, 1), replicas), -np.inf)
        self._oldest_R = np.zeros(replicas, np.intp)

    def arrive(self, gaps_R: np.ndarray, service_R: np.ndarray) -> np.ndarray:
        """Adds the next request to each replica and returns its latency, inf if it is rejected."""
        self._now_R += gaps_R
        worker_R = self._free_WR.argmin(0)
        free_R = self._free_WR[worker_R, self._columns_R]
        start_R = np.maximum(self._now_R, free_R)
        end_R = start_R + service_R
        if self._queue is None:
            self._free_WR[worker_R, self._columns_R] = end_R
            return end_R - self._now_R
        accepted_R = self._accept(start_R)
        self._free_WR[worker_R, self._columns_R] = np.where(accepted_R, end_R, free_R)
        return np.where(accepted_R, end_R - self._now_R, np.inf)

    def _accept(self, start_R: np.ndarray) -> np.ndarray:
        """Returns which requests find space in the queue.

        Requests start in order. So the queue of length L is full if the L-th latest accepted one has not started;
        without a queue, the new request must start at once.
        """
        if not self._queue:
            return start_R <= self._now_R
        starts_R = self._starts_LR[self._oldest_R, self._columns_R]
        accepted_R = starts_R <= self._now_R
        self._starts_LR[self._oldest_R, self._columns_R] = np.where(accepted_R, start_R, starts_R)
        self._oldest_R += accepted_R
        self._oldest_R[self._oldest_R == self._queue] = 0
        return accepted_R
