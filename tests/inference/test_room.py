"""Room for decoding: who does not fit in waits, and nobody waits for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from mlcycle.inference.room import Room, give_back


def test_who_does_not_fit_in_waits_for_those_who_are_there() -> None:
    room, started, entered = Room(10), Event(), Event()

    def another() -> None:
        started.set()
        with room.take(4):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with room.take(6), room.take(2):
            done = pool.submit(another)
            started.wait()
            assert not entered.wait(0.1)
        done.result(timeout=10)
    assert entered.is_set()


def test_what_is_larger_than_the_room_has_it_alone() -> None:
    room, entered = Room(10), Event()

    def small() -> None:
        with room.take(1):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with room.take(1000):
            done = pool.submit(small)
            assert not entered.wait(0.1)
        done.result(timeout=10)


def test_an_error_leaves_the_room_free() -> None:
    room = Room(10)
    with pytest.raises(ValueError, match="broken"), room.take(10):
        raise ValueError("broken")
    with room.take(10):
        pass


def test_free_memory_can_be_given_back_anywhere() -> None:
    give_back()
