"""Replicas behind one balancer, request by request: for recorded arrivals, and for balancing by load."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush, heapreplace
from typing import Protocol

import numpy as np

from mlcycle.planning.station import Station


class Balancer(Protocol):
    """Chooses the replica of each request."""

    def choose(self, now: float) -> int:
        """Returns the replica of the request that arrives at `now`, in milliseconds."""

    def accepted(self, replica: int, ends: float) -> None:
        """Is told when the request that was just given to a replica will be completed."""


def latencies(
    station: Station, arrivals_N: np.ndarray, replicas: int, balancer: Balancer, generator: np.random.Generator
) -> np.ndarray:
    """Simulates replicas that are empty at first.

    Args:
        arrivals_N: milliseconds, in order.

    Returns:
        latencies_N: milliseconds from arrival to completion; inf if rejected.
    """
    services = [station.service.stream(generator) for _ in range(replicas)]
    free = [[0.0] * station.workers for _ in range(replicas)]  # a heap for each replica: when its workers are free
    waiting: list[deque[float]] = [deque() for _ in range(replicas)]  # when those that wait will start
    space = float("inf") if station.queue is None else station.queue
    found = []
    for now in arrivals_N.tolist():
        replica = balancer.choose(now)
        workers, line = free[replica], waiting[replica]
        while line and line[0] <= now:
            line.popleft()
        start = workers[0]
        if start <= now:
            start = now
        elif len(line) < space:
            line.append(start)
        else:
            found.append(float("inf"))
            continue
        end = start + next(services[replica])
        heapreplace(workers, end)
        balancer.accepted(replica, end)
        found.append(end - now)
    return np.array(found)


class Fixed:
    """Gives requests to replicas in a given order, whatever their load.

    Args:
        replicas_N: the replica of each request.
    """

    def __init__(self, replicas_N: np.ndarray) -> None:
        self._next = iter(replicas_N.tolist())

    def choose(self, now: float) -> int:
        """Returns the replica of the next request."""
        return next(self._next)

    def accepted(self, replica: int, ends: float) -> None:
        """Does nothing."""


class LeastRequests:
    """Gives each request to a replica with the fewest requests in work and waiting, a random one of several."""

    def __init__(self, replicas: int, generator: np.random.Generator) -> None:
        self._by_load = [list(range(replicas))]  # the replicas with 0, 1, 2 … requests
        self._place = list(range(replicas))  # of each replica in its list
        self._load = [0] * replicas
        self._least = 0
        self._ends: list[tuple[float, int]] = []
        self._random = _uniform(generator)

    def choose(self, now: float) -> int:
        """Returns a replica with the fewest requests at `now`."""
        while self._ends and self._ends[0][0] <= now:
            self._move(heappop(self._ends)[1], -1)
        while not self._by_load[self._least]:
            self._least += 1
        candidates = self._by_load[self._least]
        return candidates[int(next(self._random) * len(candidates))]

    def accepted(self, replica: int, ends: float) -> None:
        """Counts a request of a replica until it is completed."""
        heappush(self._ends, (ends, replica))
        self._move(replica, 1)

    def _move(self, replica: int, change: int) -> None:
        place, load = self._place[replica], self._load[replica]
        members = self._by_load[load]
        last = members.pop()
        if last != replica:
            members[place], self._place[last] = last, place
        self._load[replica] = load = load + change
        if load == len(self._by_load):
            self._by_load.append([])
        self._place[replica] = len(self._by_load[load])
        self._by_load[load].append(replica)
        self._least = min(self._least, load)


def _uniform(generator: np.random.Generator, block: int = 4096):  # type: ignore[no-untyped-def]
    while True:
        yield from generator.random(block).tolist()
