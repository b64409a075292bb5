"""Work beyond the capacity is rejected at once, late work is not started, and nobody's work is not done."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from threading import Event
from typing import Any

import pytest

from mlcycle.serving.problems import RequestError
from mlcycle.serving.work_queue import WorkQueue

FAR = time.perf_counter() + 3600


def run(test: Callable[[WorkQueue, Event], Coroutine[Any, Any, None]], workers: int = 1, capacity: int = 2) -> None:
    queue, release = WorkQueue(workers, capacity), Event()
    try:
        asyncio.run(asyncio.wait_for(test(queue, release), 20))
    finally:
        release.set()
        queue.close()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_who_has_an_answer_finds_the_thread_free() -> None:
    async def test(queue: WorkQueue, release: Event) -> None:
        for _ in range(500):
            queue.admit(1, FAR)
            await queue.run(lambda: None, FAR)
            assert queue.active == 0

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns so often that one which is freed too late is seen
    try:
        run(test, capacity=0)
    finally:
        sys.setswitchinterval(interval)


def test_work_is_done_and_its_wait_is_told() -> None:
    async def test(queue: WorkQueue, release: Event) -> None:
        done = await queue.run(lambda: time.sleep(0.01) or 7, FAR)
        assert (done.result, 0 <= done.waited < 5, 0.01 <= done.busy < 5) == (7, True, True)
        with pytest.raises(ZeroDivisionError):
            await queue.run(lambda: 1 // 0, FAR)
        assert (queue.waiting, queue.active) == (0, 0)

    run(test)


def test_a_full_queue_rejects_at_once() -> None:
    async def test(queue: WorkQueue, release: Event) -> None:
        work = [asyncio.create_task(queue.run(release.wait, FAR)) for _ in range(3)]
        await _until(lambda: queue.active == 1 and queue.waiting == 2)
        with pytest.raises(RequestError) as caught:
            queue.admit(1, FAR)
        assert (caught.value.status, int(caught.value.headers["retry-after"]) >= 1) == (503, True)
        release.set()
        await asyncio.gather(*work)
        queue.admit(1, FAR)

    run(test)


def test_several_are_admitted_together_or_not_at_all() -> None:
    async def test(queue: WorkQueue, release: Event) -> None:
        queue.admit(3, FAR)  # one at work, two waiting
        with pytest.raises(RequestError):
            queue.admit(4, FAR)

    run(test)


def test_what_cannot_be_finished_in_time_is_rejected() -> None:
    async def test(queue: WorkQueue, release: Event) -> None:
        await queue.run(lambda: time.sleep(0.2), FAR)
        work = asyncio.create_task(queue.run(release.wait, FAR))
        await _until(lambda: queue.active == 1)
        with pytest.raises(RequestError) as caught:
            queue.admit(1, time.perf_counter() + 0.05)
        assert caught.value.status == 503
        queue.admit(1, time.perf_counter() + 5)
        release.set()
        await work

    run(test)


def test_one_slow_image_does_not_keep_others_out_for_ever() -> None:
    async def test(queue: WorkQueue, release: Event) -> None:
        await queue.run(lambda: time.sleep(0.3), FAR)
        await _until(lambda: queue.active == 0)
        expires = time.perf_counter() + 0.1
        queue.admit(1, expires)
        assert (await queue.run(lambda: 7, expires)).result == 7

    run(test)


def test_late_work_is_not_started() -> None:
    async def test(queue: WorkQueue, release: Event) -> None:
        started: list[int] = []
        first = asyncio.create_task(queue.run(release.wait, FAR))
        await _until(lambda: queue.active == 1)
        late = asyncio.create_task(queue.run(lambda: started.append(1), time.perf_counter() + 0.02))
        await asyncio.sleep(0.05)
        release.set()
        with pytest.raises(RequestError) as caught:
            await late
        await first
        assert (caught.value.status, started) == (504, [])

    run(test)


def test_work_that_nobody_awaits_is_left_out_and_frees_its_place() -> None:
    async def test(queue: WorkQueue, release: Event) -> None:
        started: list[int] = []
        first = asyncio.create_task(queue.run(release.wait, FAR))
        await _until(lambda: queue.active == 1)
        gone = asyncio.create_task(queue.run(lambda: started.append(1), FAR))
        await _until(lambda: queue.waiting == 1)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert queue.waiting == 0
        release.set()
        await first
        await queue.run(lambda: None, FAR)
        assert started == []

    run(test)
