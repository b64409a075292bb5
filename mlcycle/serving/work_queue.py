"""A bounded queue in front of worker threads: admission, deadlines, and work that nobody waits for any more.

The event loop submits work and awaits its result; worker threads do it. Work is rejected at once if the queue is full,
or if by the times of recent work it could not be finished before its deadline: a caller that is told so in a
millisecond can try elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

from mlcycle.serving.problems import RequestError, overloaded

Result = TypeVar("Result")
# Weight of the last piece of work in the moving average of how long one takes.
_RECENT = 0.05
# Share of the time to a deadline that the work ahead may take by the mean: single pieces take longer than that.
_USABLE = 0.8


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A piece of work that was done.

    Attributes:
        result: what it returned.
        waited: seconds until a thread was free.
        busy: seconds for which it kept the thread busy.
    """

    result: Result
    waited: float
    busy: float


@dataclass(slots=True)
class _Job(Generic[Result]):
    work: Callable[[], Result]
    loop: asyncio.AbstractEventLoop
    expires: float
    submitted: float = field(default_factory=time.perf_counter)
    done: asyncio.Future[Done[Result]] = field(init=False)
    is_alone: bool = False
    is_waiting: bool = True
    is_abandoned: bool = False

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()


class WorkQueue:
    """Worker threads and the queue in front of them.

    Args:
        workers: number of threads.
        capacity: pieces of work that may wait for a thread.
    """

    def __init__(self, workers: int, capacity: int) -> None:
        self.workers, self.capacity = workers, capacity
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._lock = Lock()
        self._waiting = self._active = 0
        self._mean_seconds = 0.0
        self._threads = [Thread(target=self._run, name=f"mlcycle-serve_{n}", daemon=True) for n in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Returns how many pieces of work wait for a thread."""
        return self._waiting

    @property
    def active(self) -> int:
        """Returns how many pieces of work are being done."""
        return self._active

    def expected_wait(self, count: int = 1) -> float:
        """Returns the seconds until so many more pieces would be done, by the mean time of recent ones."""
        ahead = self._waiting + self._active + count
        return self._mean_seconds * max(1.0, ahead / self.workers)

    def admit(self, count: int, expires: float) -> None:
        """Raises the answer 503 unless so many pieces of work can be done by `expires` (of time.perf_counter).

        A server with nothing to do tries in any case: after one slow piece of work it would otherwise reject all others
        for ever, since none of them could lower the mean time.
        """
        idle = self.workers - self._active
        wait, left = self.expected_wait(count), expires - time.perf_counter()
        is_late = self._is_busy and wait > _USABLE * left
        if is_late or self._waiting + count > self.capacity + max(0, idle):
            raise overloaded(wait)

    async def run(self, work: Callable[[], Result], expires: float) -> Done[Result]:
        """Does a piece of work in a thread.

        If the caller is cancelled, work that has not started is left out. Exceptions of the work are raised here.

        Raises:
            RequestError: 504, no thread was free early enough before the deadline.
        """
        job = _Job(work, asyncio.get_running_loop(), expires)
        with self._lock:
            job.is_alone = not self._is_busy
            self._waiting += 1
        self._jobs.put(job)
        try:
            return await job.done
        finally:
            job.is_abandoned = True
            self._leave_queue(job)  # at once, so that clients that have gone do not fill the queue

    def close(self) -> None:
        """Ends the threads after the work that is in the queue."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def _is_busy(self) -> bool:
        return self._waiting + self._active > 0

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            started = time.perf_counter()
            self._leave_queue(job)
            with self._lock:
                self._active += 1
            outcome = self._do(job, started)
            with self._lock:
                self._active -= 1
            # Only now: who has an answer must find the thread free.
            if outcome is not None:
                job.loop.call_soon_threadsafe(_settle, job.done, *outcome)
            del job, outcome  # a large image must not be held while the thread waits for the next one

    def _leave_queue(self, job: _Job[Any]) -> None:
        with self._lock:
            self._waiting -= job.is_waiting
            job.is_waiting = False

    def _do(self, job: _Job[Any], started: float) -> tuple[Done[Any], BaseException | None] | None:
        """Does a piece of work; returns what became of it, or None if nobody waits for it."""
        if job.is_abandoned:
            return None
        result: Any = None
        problem: BaseException | None = None
        seconds = 0.0
        if started + (0 if job.is_alone else self._mean_seconds) > job.expires:
            problem = RequestError(504, "deadline", "the request could not be finished before its deadline")
        else:
            try:
                result = job.work()
            except BaseException as failure:  # raised again where the result is awaited
                problem = failure
            seconds = time.perf_counter() - started
            with self._lock:
                self._mean_seconds += _RECENT * (seconds - self._mean_seconds) if self._mean_seconds else seconds
        try:
            return Done(result, started - job.submitted, seconds), problem
        finally:
            # The traceback refers to this frame: the request's data would be in a circle of references, and stay.
            del job, problem, result


def _settle(done: asyncio.Future[Any], result: Any, problem: BaseException | None) -> None:
    if done.done():  # cancelled
        return
    if problem is None:
        done.set_result(result)
    else:
        done.set_exception(problem)
