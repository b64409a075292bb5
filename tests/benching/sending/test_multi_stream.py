"""Queries of several images."""

from __future__ import annotations

from threading import Barrier

import pytest

from mlcycle.benching.sending.load import Load
from mlcycle.benching.sending.multi_stream import run
from mlcycle.benching.sending.outcome import Outcome


class Clock:
    """A clock that advances only when the test works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_latency_of_a_query_ends_with_its_last_image():
    clock, numbers = Clock(), []

    def detect(number: int) -> Outcome:
        numbers.append(number)
        clock.now += 0.1 if number < 4 else 0.2
        return Outcome(work_ms=1.0)

    stats = run(detect, Load(seconds=1, samples_per_query=4), clock)
    assert numbers == list(range(8))
    assert list(stats.queries) == pytest.approx([400, 800])
    assert list(stats.latencies) == pytest.approx([100, 200, 300, 400, 200, 400, 600, 800])
    assert list(stats.stages["wait"]) == pytest.approx([0, 100, 200, 300, 0, 200, 400, 600], abs=1e-6)
    assert (len(stats.work), stats.completed, stats.seconds) == (8, 8, pytest.approx(1.2))


def test_the_images_of_a_query_are_processed_at_once():
    barrier = Barrier(3, timeout=30)

    def detect(number: int) -> Outcome:
        if number < 3:
            barrier.wait()  # fails unless all three run at once
        return Outcome()

    assert run(detect, Load(seconds=0.01, concurrency=3, samples_per_query=3)).completed >= 3


def test_a_query_with_a_failed_image_has_no_latency():
    clock, outcomes = Clock(), {1: Outcome("damaged"), 2: Outcome("rejected", answered=False)}

    def detect(number: int) -> Outcome:
        clock.now += 0.25
        return outcomes.get(number, Outcome())

    stats = run(detect, Load(seconds=1.5, samples_per_query=2), clock)
    assert list(stats.queries) == pytest.approx([500])
    assert (stats.completed, stats.queries_without_result, stats.failed, stats.rejected) == (4, 1, {"damaged": 1}, 1)


def test_an_error_ends_the_run():
    def detect(number: int) -> Outcome:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(detect, Load(seconds=3600, concurrency=2, samples_per_query=2))
