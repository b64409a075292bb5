"""Stop signals: the first is recorded, the handlers are restored, and ignored signals stay ignored."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from mlcycle.training import stopping
from mlcycle.training.stopping import StopRequest

pytestmark = [pytest.mark.training, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_is_recorded_and_the_handler_restored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "REPEAT_SECONDS", 60.0)  # however long this machine stands still
    number, came = getattr(signal, name), []
    before = signal.signal(number, lambda *_: came.append(number))
    try:
        with StopRequest() as stop:
            assert not stop
            os.kill(os.getpid(), number)
            assert stop
            assert stop.signal_number == number
            assert came == []
            os.kill(os.getpid(), number)  # forwarded by the parent: the same request again
            assert came == []
            stop.received_at -= stopping.REPEAT_SECONDS
            os.kill(os.getpid(), number)  # a second one has its usual effect
            assert came == [number]
        os.kill(os.getpid(), number)
        assert came == [number, number]
    finally:
        signal.signal(number, before)


def test_a_sighup_ignored_by_nohup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_training_whose_parent_was_killed_before_it_started_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(signal.SIGTERM))
    monkeypatch.setattr(stopping, "_signal_on_parent_death", lambda number: None)
    try:
        stopping.stop_with_the_parent()
        monkeypatch.setenv(stopping.PARENT, str(os.getppid()))
        stopping.stop_with_the_parent()
        assert came == []
        monkeypatch.setenv(stopping.PARENT, str(os.getpid()))
        stopping.stop_with_the_parent()
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
