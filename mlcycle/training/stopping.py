"""Ctrl-C, SIGTERM and a terminal that is closed: finish the step, save, then go."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

# One wish to stop may come twice: to all processes of a terminal, and handed on by whatever started this one.
SAME_WISH_SECONDS = 1.0
# By this name of the environment a process tells those that it starts its own number.
PARENT = "MLCYCLE_PARENT"
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, of prctl(2)


class StopRequest:
    """Remembers that a signal came, while its block runs; a second one, but for one within a second of the first, ends
    the process as it would have without us.

    Args:
        signals: those that it hears of; none in a process that is not mlcycle's own.

    Attributes:
        signal_number: of the signal that came, or 0.
    """

    def __init__(self, signals: Sequence[int] = SIGNALS) -> None:
        self.signals = signals
        self.signal_number = 0
        self.came_at = 0.0

    def __bool__(self) -> bool:
        return self.signal_number != 0

    def __enter__(self) -> StopRequest:
        # What whoever started us told us to ignore, as nohup does with hang-ups, stays ignored.
        heard = [each for each in self.signals if signal.getsignal(each) != signal.SIG_IGN]
        self._before = {each: signal.signal(each, self._remember) for each in heard}
        return self

    def __exit__(self, kind: type | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if not self:
            self.signal_number, self.came_at = number, time.monotonic()
        elif time.monotonic() - self.came_at > SAME_WISH_SECONDS:
            self._give_back()
            signal.raise_signal(number)


def child_handler() -> Any:
    """Returns what this process does when a process ends that it has started."""
    return signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None


def set_child_handler(handler: Any) -> None:
    """Puts a handler back that torch replaces when it starts data workers: its own raises an error wherever the
    training is when a worker dies, between two halves of a step too. The loader notices by itself when no data comes.

    Torch replaces it in the main thread alone, which alone may set one.
    """
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, handler)


def leave_signals_to_the_parent(worker: int) -> None:
    """For data workers: a Ctrl-C goes to every process of the terminal, and the trainer still needs them to finish.

    When it is killed they end with it: they might hold its lock for a while.
    """
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    _get_when_the_parent_dies(signal.SIGKILL)


def stop_with_the_parent() -> None:
    """For a training that another process has started: it saves itself and ends when that one is killed, where the
    system can see to it, and ends at once if that one was killed before."""
    _get_when_the_parent_dies(signal.SIGTERM)
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        signal.raise_signal(signal.SIGTERM)


def _get_when_the_parent_dies(number: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, number)
