"""Work on many things at once, and answers in the order of the things; memory does not grow with their number."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")

# How many things each lane may be ahead of the one whose answer is waited for: so many small ones are done meanwhile,
# where one takes long.
AHEAD = 8


def cores() -> int:
    """Returns how many cores this process may use: those it is bound to, or what its container grants, if less."""
    from mlcycle.machine import machine

    return max(1, math.ceil(machine.cores().usable))


def in_order(work: Callable[[Thing], Answer], things: Iterable[Thing], lanes: int) -> Iterator[Answer]:
    """Yields `work(thing)` for each thing, in their order, from so many threads at once.

    A thing is asked for only when there is room for it. When the caller stops, or work raises, what has not been begun
    is not begun any more.
    """
    if lanes <= 1:
        yield from map(work, things)
        return
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(lanes, "mlcycle-lane") as pool:
        try:
            for thing in things:
                waiting.append(pool.submit(work, thing))
                if len(waiting) >= AHEAD * lanes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
