"""Asking for answers, for a while: each as soon as the last is there, or at fixed times whatever became of the last.

In a closed loop (no rate) whoever asks waits for the answer, so that a machine that stalls is asked less. In an open
loop requests fall due at fixed times, and the time that one waits for somebody to be free counts: leaving it out would
hide just the stalls that users meet (coordinated omission).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING

from mlcycle.benching.tally import Tally

if TYPE_CHECKING:
    from mlcycle.inference.record import Record

# Gets the number of a request, from 0 on, and answers.
Answer = Callable[[int], "Record"]


@dataclass(frozen=True, slots=True)
class Load:
    """How to ask.

    Attributes:
        seconds: for how long; what has begun by then is waited for.
        concurrency: how many images are in work at once.
        rate: requests a second that fall due; None asks for the next as soon as one is answered.
    """

    seconds: float
    concurrency: int = 1
    rate: float | None = None

    @property
    def due(self) -> int:
        """Returns how many requests fall due in an open loop: at 0, 1 / rate, 2 / rate … before `seconds`."""
        return max(1, math.ceil(round(self.seconds * (self.rate or 0), 6)))

    @property
    def patience(self) -> float:
        """Returns after how many seconds nothing more is begun; a backlog has as long again as the run."""
        return self.seconds if self.rate is None else 2 * self.seconds


def run(
    answer: Answer,
    load: Load,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] | None = None,
) -> Tally:
    """Asks `answer` for as long as `load` says, from `load.concurrency` threads, and counts what came of it.

    `sleep` gets the seconds until a request falls due. What `answer` raises is raised here, once all have stopped.
    """
    requests = _Requests(load, clock)
    tally = Tally()

    def work() -> None:
        for number, due in iter(requests.take, None):
            if due is not None and (early := due - clock()) > 0:
                (sleep or requests.stopped.wait)(early)
                if requests.stopped.is_set():
                    return
            begun = clock()
            record = answer(number)
            tally.add(number, record, due=due, begun=begun, ended=clock())

    _in_threads(work, load.concurrency, requests)
    tally.seconds = clock() - requests.begun
    tally.never_begun = load.due - requests.taken if load.rate else 0
    return tally


def _in_threads(work: Callable[[], None], count: int, requests: _Requests) -> None:
    if count == 1:
        work()
        return
    with ThreadPoolExecutor(count, "mlcycle-bench") as pool:
        try:
            for worker in [pool.submit(work) for _ in range(count)]:
                worker.result()
        finally:
            requests.stopped.set()  # all have ended, or one of them failed, or Ctrl-C came: nobody begins another


class _Requests:
    """Hands out requests, each once, until the time is over."""

    def __init__(self, load: Load, clock: Callable[[], float]) -> None:
        self._load, self._clock, self._lock = load, clock, Lock()
        self.stopped = Event()
        self.taken = 0
        self.begun = clock()

    def take(self) -> tuple[int, float | None] | None:
        """Returns a request's number and when it is due (None: at once), or None if there is none any more."""
        with self._lock:
            load, number = self._load, self.taken
            over = self._clock() - self.begun >= load.patience or (load.rate is not None and number >= load.due)
            if over or self.stopped.is_set():
                return None
            self.taken += 1
            return number, None if load.rate is None else self.begun + number / load.rate
