"""Sends requests in a closed or an open loop.

In a closed loop (no rate) each worker waits for its request to complete before it sends the next: a machine that stalls
gets fewer requests. In an open loop requests are due at fixed times, and the latency includes the time that a request
waits for a free worker. Leaving it out would hide the stalls that users see (coordinated omission).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING

from mlcycle.benching.request_stats import RequestStats

if TYPE_CHECKING:
    from mlcycle.inference.record import Record

# Number of a request, from 0 → its record.
Detect = Callable[[int], "Record"]


@dataclass(frozen=True, slots=True)
class Load:
    """The load.

    Attributes:
        seconds: duration; requests that have started by then are completed.
        concurrency: images processed at once.
        rate: requests per second (open loop); None for a closed loop.
    """

    seconds: float
    concurrency: int = 1
    rate: float | None = None

    @property
    def due(self) -> int:
        """Returns the number of requests in an open loop, due at 0, 1 / rate, 2 / rate … before `seconds`."""
        return max(1, math.ceil(round(self.seconds * (self.rate or 0), 6)))

    @property
    def deadline(self) -> float:
        """Returns the seconds after which no request starts. A backlog has as much time again as the run."""
        return self.seconds if self.rate is None else 2 * self.seconds


def run(
    detect: Detect,
    load: Load,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] | None = None,
) -> RequestStats:
    """Calls `detect` under the given load from `load.concurrency` threads, and returns the statistics.

    `sleep` receives the seconds until a request is due. Exceptions of `detect` are raised after all threads stop.
    """
    requests = _Requests(load, clock)
    stats = RequestStats()

    def work() -> None:
        for number, due in iter(requests.take, None):
            if due is not None and (early := due - clock()) > 0:
                (sleep or requests.stopped.wait)(early)
                if requests.stopped.is_set():
                    return
            started = clock()
            record = detect(number)
            stats.add(number, record, due=due, started=started, ended=clock())

    _in_threads(work, load.concurrency, requests)
    stats.seconds = clock() - requests.started
    stats.never_started = load.due - requests.taken if load.rate else 0
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
        self._load, self._clock, self._lock = load, clock, Lock()
        self.stopped = Event()
        self.taken = 0
        self.started = clock()

    def take(self) -> tuple[int, float | None] | None:
        """Returns the number of a request and when it is due (None: now), or None if no request is left."""
        with self._lock:
            load, number = self._load, self.taken
            over = self._clock() - self.started >= load.deadline or (load.rate is not None and number >= load.due)
            if over or self.stopped.is_set():
                return None
            self.taken += 1
            return number, None if load.rate is None else self.started + number / load.rate
