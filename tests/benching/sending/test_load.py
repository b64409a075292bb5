"""A closed and an open loop, on a fake clock."""

from __future__ import annotations

from threading import Barrier, Lock

import pytest

from mlcycle.benching.sending.load import Limit, Load, run
from mlcycle.benching.sending.outcome import Outcome


class Clock:
    """A clock that advances only when the test sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def worker(clock: Clock, *seconds: float):
    """Returns a function that takes the given seconds for each request; the last value applies to all further ones."""

    def detect(number: int) -> Outcome:
        clock.advance(taken := seconds[min(number, len(seconds) - 1)])
        return Outcome(stages={"run": 2.0}, work_ms=taken * 1000, pixels=50)

    return detect


def test_a_closed_loop_starts_a_request_when_the_last_is_completed():
    clock = Clock()
    stats = run(worker(clock, 0.5, 0.25), Load(seconds=1.1), clock, clock.advance)
    assert list(stats.latencies) == pytest.approx([500, 250, 250, 250])
    assert stats.seconds == pytest.approx(1.25)  # a started request is completed
    assert stats.throughput == pytest.approx(4 / 1.25)
    assert list(stats.stages["run"]) == [2.0] * 4
    assert "wait" not in stats.stages
    assert (stats.late, stats.never_started, stats.pixels) == (0, 0, 200)


def test_the_latency_in_an_open_loop_starts_when_a_request_is_due():
    clock = Clock()
    # Due at 0, 0.1 … 0.9. One stall of 0.35 s makes the next three wait, although each takes 0.01 s.
    stats = run(worker(clock, 0.01, 0.35, 0.01), Load(seconds=1, rate=10), clock, clock.advance)
    assert list(stats.latencies) == pytest.approx([10, 350, 260, 170, 80, 10, 10, 10, 10, 10])
    assert list(stats.stages["wait"]) == pytest.approx([0, 0, 250, 160, 70, 0, 0, 0, 0, 0], abs=1e-6)
    assert list(stats.work) == pytest.approx([10, 350, *[10] * 8])
    assert stats.late == 3
    assert stats.never_started == 0
    assert stats.seconds == pytest.approx(0.91)


def test_an_open_loop_counts_requests_that_never_started():
    clock = Clock()
    stats = run(worker(clock, 0.5), Load(seconds=1, rate=10), clock, clock.advance)
    assert list(stats.latencies) == pytest.approx([500, 900, 1300, 1700])  # started until 2 s, twice the duration
    assert (stats.late, stats.never_started) == (3, 6)


def test_failures_count_only_by_their_code():
    clock = Clock()

    def detect(number: int) -> Outcome:
        clock.advance(0.25)
        return Outcome("" if number % 2 else "damaged", stages={"read": 9.0}, pixels=3)

    stats = run(detect, Load(seconds=1), clock, clock.advance)
    assert list(stats.latencies) == pytest.approx([250, 250])
    assert stats.failed == {"damaged": 2}
    assert (stats.first_completed, stats.pixels, len(stats.stages["read"])) == (1, 6, 2)
    assert (stats.rejected, stats.without_result) == (0, 0)


def test_what_a_server_does_not_answer_is_slower_than_all_others():
    clock, outcomes = Clock(), [Outcome(), Outcome("rejected", answered=False), Outcome("timeout", answered=False)]

    def detect(number: int) -> Outcome:
        clock.advance(0.25)
        return outcomes[number % 3]

    stats = run(detect, Load(seconds=1.5), clock, clock.advance)
    assert (stats.completed, stats.rejected, stats.failed) == (2, 2, {"timeout": 2})
    assert stats.without_result == 4


def test_a_run_that_has_missed_its_limit_stops():
    clock = Clock()
    load = Load(seconds=100, rate=1)
    stats = run(worker(clock, 0.5, 0.01), load, clock, clock.advance, Limit(milliseconds=100, most=1))
    assert (stats.completed, stats.over_limit, stats.never_started) == (100, 1, 0)
    stats = run(worker(clock, 0.01, 0.5), load, clock, clock.advance, Limit(milliseconds=100, most=1))
    assert (stats.completed, stats.over_limit, stats.never_started) == (3, 2, 97)


def test_poisson_arrivals_are_counted_from_when_they_were_due():
    clock = Clock()
    load = Load(seconds=10, rate=10, arrivals="poisson", seed=3)
    stats = run(worker(clock, 0.05), load, clock, clock.advance)
    free, expected = 0.0, []
    for due in load.due_times():
        free = max(free, due) + 0.05
        expected.append((free - due) * 1000)
    assert list(stats.latencies) == pytest.approx(expected)
    assert max(expected) > 100  # although half of the time nothing is due


def test_workers_run_in_parallel_and_take_each_request_once():
    barrier, numbers, lock = Barrier(3, timeout=30), [], Lock()

    def detect(number: int) -> Outcome:
        if number < 3:
            barrier.wait()  # fails unless all three run at once
        with lock:
            numbers.append(number)
        return Outcome()

    # Ten requests are due within an hour, and sleep returns at once: a slow machine cannot drop one.
    stats = run(detect, Load(seconds=3600, concurrency=3, rate=10 / 3600), sleep=lambda seconds: None)
    assert sorted(numbers) == list(range(10))
    assert (stats.completed, stats.never_started) == (10, 0)


def test_a_worker_that_fails_stops_the_others():
    started = []

    def detect(number: int) -> Outcome:
        started.append(number)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(detect, Load(seconds=3600, concurrency=2, rate=0.001))  # the second sleeps until its request is due
    assert len(started) == 1
