"""Asking in a closed and in an open loop, on a clock that moves only when it is told to."""

from __future__ import annotations

from threading import Barrier, Lock

import pytest

from mlcycle.benching.load import Load, run
from mlcycle.inference.record import Record


class Clock:
    """Seconds that pass only while somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def worker(clock: Clock, *seconds: float):
    """Takes so many seconds for the first, the second … request, and as many as for the last from then on."""

    def answer(number: int) -> Record:
        clock.pass_by(seconds[min(number, len(seconds) - 1)])
        return Record(f"{number}", width=10, height=5, milliseconds={"run": 2.0})

    return answer


def test_a_closed_loop_asks_for_the_next_when_the_last_is_answered():
    clock = Clock()
    tally = run(worker(clock, 0.5, 0.25), Load(seconds=1.1), clock, clock.pass_by)
    assert list(tally.latencies) == pytest.approx([500, 250, 250, 250])
    assert tally.seconds == pytest.approx(1.25)  # what has begun is waited for
    assert tally.throughput == pytest.approx(4 / 1.25)
    assert list(tally.stages["run"]) == [2.0] * 4
    assert "wait" not in tally.stages
    assert (tally.late, tally.never_begun, tally.pixels) == (0, 0, 200)


def test_an_open_loop_counts_the_latency_from_when_a_request_was_due():
    clock = Clock()
    # Due at 0, 0.1 … 0.9. One stall of 0.35 s makes the next three wait, though each takes 0.01 s by itself.
    tally = run(worker(clock, 0.01, 0.35, 0.01), Load(seconds=1, rate=10), clock, clock.pass_by)
    assert list(tally.latencies) == pytest.approx([10, 350, 260, 170, 80, 10, 10, 10, 10, 10])
    assert list(tally.stages["wait"]) == pytest.approx([0, 0, 250, 160, 70, 0, 0, 0, 0, 0], abs=1e-6)
    assert tally.late == 3
    assert tally.never_begun == 0
    assert tally.seconds == pytest.approx(0.91)


def test_an_open_loop_that_cannot_keep_up_says_what_it_gave_up():
    clock = Clock()
    tally = run(worker(clock, 0.5), Load(seconds=1, rate=10), clock, clock.pass_by)
    assert list(tally.latencies) == pytest.approx([500, 900, 1300, 1700])  # begun until 2 s, twice the duration
    assert (tally.late, tally.never_begun) == (3, 6)


def test_what_fails_is_counted_by_its_code_and_nowhere_else():
    clock = Clock()

    def answer(number: int) -> Record:
        clock.pass_by(0.25)
        error = None if number % 2 else ("damaged", "the image is damaged")
        return Record(f"{number}", width=3, height=1, error=error, milliseconds={"read": 9.0})

    tally = run(answer, Load(seconds=1), clock, clock.pass_by)
    assert list(tally.latencies) == pytest.approx([250, 250])
    assert tally.failed == {"damaged": 2}
    assert (tally.readable, tally.pixels, len(tally.stages["read"])) == (1, 6, 2)


def test_workers_ask_side_by_side_and_each_request_once():
    together, numbers, lock = Barrier(3, timeout=30), [], Lock()

    def answer(number: int) -> Record:
        if number < 3:
            together.wait()  # breaks unless all three are in work at once
        with lock:
            numbers.append(number)
        return Record("")

    # Ten fall due within an hour, and nobody sleeps until then: no stall of this machine can leave one out.
    tally = run(answer, Load(seconds=3600, concurrency=3, rate=10 / 3600), sleep=lambda seconds: None)
    assert sorted(numbers) == list(range(10))
    assert (tally.answered, tally.never_begun) == (10, 0)


def test_a_worker_that_breaks_stops_the_others():
    asked = []

    def answer(number: int) -> Record:
        asked.append(number)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(answer, Load(seconds=3600, concurrency=2, rate=0.001))  # the second sleeps until its request is due
    assert len(asked) == 1
