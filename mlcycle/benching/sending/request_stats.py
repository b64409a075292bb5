"""Statistics of the requests of one run: numbers only, so that a long run needs little memory."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from threading import Lock

from mlcycle.benching.sending.outcome import REJECTED, Outcome

# A request that starts later than this after it was due is late; less is the accuracy of sleep.
LATE_MS = 1.0
# The stage in which a request waits for a free worker, or a free connection, of the program that measures.
WAIT = "wait"


class RequestStats:
    """Counts requests; thread-safe.

    Attributes:
        latencies: milliseconds of each completed request, in the order of completion.
        queries: milliseconds of each query of several images, whose requests all completed.
        queries_without_result: queries of which a request was unanswered.
        work: milliseconds for which each completed request kept a worker busy, if that is known.
        stages: milliseconds of each stage, in the same order.
        failed: failed requests by error code; no other number includes them.
        rejected: requests that a server refused because it has no capacity.
        unanswered: requests that a server rejected, or that failed there or on the way.
        never_started: requests that were due and never started, because no worker was free.
        over_limit: requests that took longer than `limit_ms`, or were unanswered.
        seconds: from the start of the run to its last completed request.
        pixels: of all images of completed requests.
        first_completed: the lowest number of a completed request, or None.
    """

    def __init__(self, limit_ms: float = math.inf) -> None:
        self.latencies, self.queries, self.work = array("d"), array("d"), array("d")
        self.stages: dict[str, array[float]] = {}
        self.failed: Counter[str] = Counter()
        self.rejected = self.unanswered = self.never_started = self.over_limit = self.pixels = 0
        self.queries_without_result = 0
        self.seconds = 0.0
        self.first_completed: int | None = None
        self._limit_ms, self._lock = limit_ms, Lock()

    def add(self, number: int, outcome: Outcome, *, due: float | None, started: float, ended: float) -> None:
        """Counts one request. `due`, `started` and `ended` are seconds of one clock; `due` is None in a closed loop."""
        with self._lock:
            if outcome.error:
                self._add_failed(outcome)
                return
            stages = dict(outcome.stages)
            if due is not None:
                stages = {WAIT: (started - due) * 1000, **stages}
            latency = (ended - (started if due is None else due)) * 1000
            self.latencies.append(latency)
            self.over_limit += latency > self._limit_ms
            if outcome.work_ms is not None:
                self.work.append(outcome.work_ms)
            for stage, milliseconds in stages.items():
                self.stages.setdefault(stage, array("d")).append(milliseconds)
            self.pixels += outcome.pixels
            self.first_completed = number if self.first_completed is None else min(number, self.first_completed)

    def _add_failed(self, outcome: Outcome) -> None:
        if outcome.error == REJECTED:
            self.rejected += 1
        else:
            self.failed[outcome.error] += 1
        if not outcome.answered:
            self.unanswered += 1
            self.over_limit += 1

    @property
    def completed(self) -> int:
        """Returns the number of completed requests."""
        return len(self.latencies)

    @property
    def late(self) -> int:
        """Returns the number of completed requests that started more than LATE_MS after they were due."""
        return sum(milliseconds > LATE_MS for milliseconds in self.stages.get(WAIT, ()))

    @property
    def without_result(self) -> int:
        """Returns the number of requests that count as slower than all others."""
        return self.never_started + self.unanswered

    @property
    def throughput(self) -> float:
        """Returns completed requests per second, from the start to the last completed request; 0 without any."""
        return self.completed / self.seconds if self.seconds > 0 else 0.0
