"""Room for decoding: who does not fit in waits, and nobody waits for ever."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest
from conftest import environment

from mlcycle.inference.decoding.memory import MemoryBudget, release_free_memory


def test_who_does_not_fit_in_waits_for_those_who_are_there() -> None:
    room, started, entered = MemoryBudget(10), Event(), Event()

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
    room, started, entered = MemoryBudget(10), Event(), Event()

    def small() -> None:
        started.set()
        with room.take(1):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with room.take(1000):
            done = pool.submit(small)
            started.wait()
            assert not entered.wait(0.1)
        done.result(timeout=10)
    assert entered.is_set()


def test_an_error_leaves_the_room_free() -> None:
    room = MemoryBudget(10)
    with pytest.raises(ValueError, match="broken"), room.take(10):
        raise ValueError("broken")
    entered = Event()

    def enter() -> None:
        with room.take(10):
            entered.set()

    Thread(target=enter, daemon=True).start()  # so that a room that stays taken fails the test and does not hang it
    assert entered.wait(10)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library cannot be told to")
def test_free_memory_is_given_back_to_the_system() -> None:
    # Blocks too small to be mapped on their own, and one above them that stays: glibc keeps what is freed below it.
    program = """
    from pathlib import Path
    from mlcycle.inference.decoding.memory import release_free_memory

    def megabytes():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    blocks = [bytearray(b"1") * 100_000 for _ in range(1000)]
    last = bytearray(b"1") * 100_000
    full = megabytes()
    del blocks
    kept = megabytes()
    release_free_memory()
    print(full - kept, full - megabytes())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment(), capture_output=True, text=True, check=True
    )
    freed_before, freed = map(float, done.stdout.split())
    assert freed_before < 20
    assert freed > 80


def test_a_c_library_that_cannot_give_memory_back_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name) or object())
    release_free_memory()
    assert asked == [None]
