"""Work on many things at once, and answers in the order of the things; memory does not grow with their number.

All that the threads and their caller share are SimpleQueues, which are C throughout. A signal that comes while the
caller holds the lock of a Future or a Semaphore, which are Python, would leave it locked, and a thread waiting for it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")
_Outcome = tuple[Answer | None, BaseException | None]

# How many things each lane may be ahead of the one whose answer is waited for: so many small ones are done meanwhile,
# where one takes long.
AHEAD = 8
# How many things each lane may hold that it is not done with: a decoded frame of a video takes megabytes.
AT_HAND = 2


def cores() -> int:
    """Returns how many cores this process may use: those it is bound to, or what its container grants, if less."""
    from mlcycle.machine import machine

    return max(1, math.ceil(machine.cores().usable))


def ordered_map(
    work: Callable[[Thing], Answer], things: Iterable[Thing], workers: int, ahead: int = AHEAD
) -> Iterator[Answer]:
    """Yields `work(thing)` for each thing, in their order, from so many threads at once.

    A thing is asked for only when there is room for it, and `ahead` answers of each thread may wait for their turn.
    When the caller stops, or work raises, what has not been begun is not begun any more.
    """
    if workers <= 1:
        yield from map(work, things)
        return
    todo: SimpleQueue[tuple[Thing, SimpleQueue[_Outcome[Answer]]] | None] = SimpleQueue()
    waiting: deque[SimpleQueue[_Outcome[Answer]]] = deque()
    room: SimpleQueue[None] = SimpleQueue()
    ended = False

    def lane() -> None:
        while (item := todo.get()) is not None:
            if not ended:
                item[1].put(_outcome(work, item[0]))
            room.put(None)

    for _ in range(AT_HAND * workers):
        room.put(None)
    threads = [Thread(target=lane, name=f"mlcycle-lane_{number}", daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thing in _as_there_is(room, things):
            waiting.append(SimpleQueue())
            todo.put((thing, waiting[-1]))
            while waiting and (not waiting[0].empty() or len(waiting) >= ahead * workers):
                yield _answer(waiting.popleft().get())
        while waiting:
            yield _answer(waiting.popleft().get())
    finally:
        ended = True
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.join()


def _outcome(work: Callable[[Thing], Answer], thing: Thing) -> _Outcome[Answer]:
    try:
        return work(thing), None
    except BaseException as problem:  # it is raised again where the answer is waited for
        return None, problem


def _answer(outcome: _Outcome[Answer]) -> Answer:
    answer, problem = outcome
    if problem is not None:
        raise problem
    return answer  # type: ignore[return-value]


def _as_there_is(room: SimpleQueue[None], things: Iterable[Thing]) -> Iterator[Thing]:
    remaining = iter(things)
    while True:
        room.get()
        try:
            thing = next(remaining)
        except StopIteration:
            return
        yield thing
