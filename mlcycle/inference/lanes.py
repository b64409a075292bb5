"""Work on many things at once, and answers in the order of the things; memory does not grow with their number."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore
from typing import TypeVar

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")

# How many things each lane may be ahead of the one whose answer is waited for: so many small ones are done meanwhile,
# where one takes long.
AHEAD = 8
# How many things each lane may hold that it is not done with: a decoded frame of a video takes megabytes.
AT_HAND = 2


def cores() -> int:
    """Returns how many cores this process may use: those it is bound to, or what its container grants, if less."""
    from mlcycle.machine import machine

    return max(1, math.ceil(machine.cores().usable))


def in_order(
    work: Callable[[Thing], Answer], things: Iterable[Thing], lanes: int, ahead: int = AHEAD
) -> Iterator[Answer]:
    """Yields `work(thing)` for each thing, in their order, from so many threads at once.

    A thing is asked for only when there is room for it, and `ahead` answers of each thread may wait for their turn.
    When the caller stops, or work raises, what has not been begun is not begun any more.
    """
    if lanes <= 1:
        yield from map(work, things)
        return
    waiting: deque[Future[Answer]] = deque()
    room = Semaphore(AT_HAND * lanes)
    with ThreadPoolExecutor(lanes, "mlcycle-lane") as pool:
        try:
            for thing in _as_there_is(room, things):
                waiting.append(pool.submit(work, thing))
                waiting[-1].add_done_callback(lambda _: room.release())
                while waiting and (waiting[0].done() or len(waiting) >= ahead * lanes):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def _as_there_is(room: Semaphore, things: Iterable[Thing]) -> Iterator[Thing]:
    remaining = iter(things)
    while True:
        room.acquire()
        try:
            thing = next(remaining)
        except StopIteration:
            return
        yield thing
