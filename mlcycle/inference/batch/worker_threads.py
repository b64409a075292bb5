"""Maps a function over many items in worker threads; results come in the order of the items, with bounded memory.

The threads and their caller share only SimpleQueues, which are implemented in C. A signal that arrives while the caller
holds the lock of a Future or Semaphore, which are Python code, would leave it locked and a thread waiting.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Outcome = tuple[Result | None, BaseException | None]

# Results per thread that may wait for an earlier one: small items are finished while a large one takes long.
MAX_WAITING_RESULTS = 8
# Items per thread that may be fetched and not yet finished: a decoded video frame takes megabytes.
MAX_FETCHED_ITEMS = 2


def cores() -> int:
    """Returns the number of cores this process may use, by its CPU affinity and its container's limit."""
    from mlcycle.machine import machine

    return max(1, math.ceil(machine.cores().usable))


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int = MAX_WAITING_RESULTS
) -> Iterator[Result]:
    """Yields `function(item)` for each item, in order, computed in `workers` threads.

    Items are fetched only as threads become free, and at most `ahead` results per thread wait for an earlier one. If
    the caller stops or the function raises, no further items are started.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    todo: SimpleQueue[tuple[Item, SimpleQueue[_Outcome[Result]]] | None] = SimpleQueue()
    waiting: deque[SimpleQueue[_Outcome[Result]]] = deque()
    free_slots: SimpleQueue[None] = SimpleQueue()
    ended = False

    def work() -> None:
        while (task := todo.get()) is not None:
            if not ended:
                task[1].put(_outcome(function, task[0]))
            free_slots.put(None)

    for _ in range(MAX_FETCHED_ITEMS * workers):
        free_slots.put(None)
    threads = [Thread(target=work, name=f"mlcycle-worker_{number}", daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for item in _fetch(items, free_slots):
            waiting.append(SimpleQueue())
            todo.put((item, waiting[-1]))
            while waiting and (not waiting[0].empty() or len(waiting) >= ahead * workers):
                yield _result(waiting.popleft().get())
        while waiting:
            yield _result(waiting.popleft().get())
    finally:
        ended = True
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.join()


def _outcome(function: Callable[[Item], Result], item: Item) -> _Outcome[Result]:
    try:
        return function(item), None
    except BaseException as problem:  # raised again in the caller's thread
        return None, problem


def _result(outcome: _Outcome[Result]) -> Result:
    result, problem = outcome
    if problem is not None:
        raise problem
    return result  # type: ignore[return-value]


def _fetch(items: Iterable[Item], free_slots: SimpleQueue[None]) -> Iterator[Item]:
    remaining = iter(items)
    while True:
        free_slots.get()
        try:
            item = next(remaining)
        except StopIteration:
            return
        yield item
