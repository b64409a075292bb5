"""Sends requests in a closed or an open loop.

In a closed loop (no rate) each worker waits for its request to complete before it sends the next: a machine that stalls
gets fewer requests. In an open loop requests are due at times that do not depend on it, and the latency includes the
time that a request waits for a free worker. Leaving it out would hide the stalls that users see (coordinated omission).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock

from mlcycle.benching.sending import arrivals
from mlcycle.benching.sending.outcome import Detect
from mlcycle.benching.sending.request_stats import RequestStats


@dataclass(frozen=True, slots=True)
class Load:
    """The load.

    Attributes:
        seconds: duration; requests that have started by then are completed.
        concurrency: images processed at once.
        rate: requests per second (open loop); None for a closed loop.
        arrivals: "uniform" or "poisson", in an open loop.
        seed: of Poisson arrivals.
        samples_per_query: images that are sent together, of which the last one completes the query; None if each is
            sent by itself.
    """

    seconds: float
    concurrency: int = 1
    rate: float | None = None
    arrivals: str = arrivals.UNIFORM
    seed: int = 0
    samples_per_query: int | None = None

    def due_times(self) -> Sequence[float] | None:
        """Returns the seconds at which requests are due; None in a closed loop."""
        if self.rate is None:
            return None
        return arrivals.due_times(self.arrivals, self.rate, self.seconds, self.seed)

    @property
    def deadline(self) -> float:
        """Returns the seconds after which no request starts. A backlog has as much time again as the run."""
        return self.seconds if self.rate is None else 2 * self.seconds


@dataclass(frozen=True, slots=True)
class Limit:
    """When a run has failed and stops: more than `most` requests took longer than `milliseconds` or had no result."""

    milliseconds: float = math.inf
    most: int = 0


def run(
    detect: Detect,
    load: Load,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] | None = None,
    limit: Limit | None = None,
) -> RequestStats:
    """Calls `detect` under the given load from `load.concurrency` threads, and returns the statistics.

    `sleep` receives the seconds until a request is due. Exceptions of `detect` are raised after all threads stop.
    """
    limit = limit or Limit()
    requests, stats = _Requests(load, clock), RequestStats(limit.milliseconds)

    def work() -> None:
        for number, due in iter(requests.take, None):
            if due is not None and (early := due - clock()) > 0:
                (sleep or requests.stopped.wait)(early)
                if requests.stopped.is_set():
                    return
            started = clock()
            outcome = detect(number)
            stats.add(number, outcome, due=due, started=started, ended=clock())
            if limit.milliseconds < math.inf and stats.over_limit > limit.most:
                requests.stopped.set()

    _in_threads(work, load.concurrency, requests)
    stats.seconds = clock() - requests.started
    stats.never_started = requests.remaining
    return stats


def _in_threads(work: Callable[[], None], count: int, requests: _Requests) -> None:
    if count == 1:
        work()
        return
    with ThreadPoolExecutor(count, "mlcycle-bench") as pool:
        try:
            for worker in [pool.submit(work) for _ in range(count)]:
                worker.result()
        finally:
            requests.stopped.set()  # all have ended, or one has failed, or Ctrl-C arrived: no request starts


class _Requests:
    """Distributes requests, each once, until the time is over."""

    def __init__(self, load: Load, clock: Callable[[], float]) -> None:
        self._due, self._deadline, self._clock, self._lock = load.due_times(), load.deadline, clock, Lock()
        self.stopped = Event()
        self._taken = 0
        self.started = clock()

    def take(self) -> tuple[int, float | None] | None:
        """Returns the number of a request and when it is due (None: now), or None if no request is left."""
        with self._lock:
            number = self._taken
            over = self._clock() - self.started >= self._deadline or (self._due is not None and not self.remaining)
            if over or self.stopped.is_set():
                return None
            self._taken += 1
            return number, None if self._due is None else self.started + self._due[number]

    @property
    def remaining(self) -> int:
        """Returns the number of requests that no worker has taken; 0 in a closed loop."""
        return 0 if self._due is None else len(self._due) - self._taken
