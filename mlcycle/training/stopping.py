"""Stop requests (Ctrl-C, SIGTERM, a closed terminal): the training finishes its step, saves and ends."""

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

# One stop request may arrive twice: from the terminal, and forwarded by the parent process.
REPEAT_SECONDS = 1.0
# The environment variable in which a process passes its process id to its children.
PARENT = "MLCYCLE_PARENT"
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, of prctl(2)


class StopRequest:
    """Records a signal while its block runs. A second signal, more than a second later, has its usual effect.

    Args:
        signals: the signals to handle; none in a process that is not mlcycle's own.

    Attributes:
        signal_number: the number of the signal received, or 0.
    """

    def __init__(self, signals: Sequence[int] = SIGNALS) -> None:
        self.signals = signals
        self.signal_number = 0
        self.received_at = 0.0

    def __bool__(self) -> bool:
        return self.signal_number != 0

    def __enter__(self) -> StopRequest:
        # Signals that the parent process set to ignored, as nohup does with SIGHUP, stay ignored.
        handled = [each for each in self.signals if signal.getsignal(each) != signal.SIG_IGN]
        self._before = {each: signal.signal(each, self._record) for each in handled}
        return self

    def __exit__(self, kind: type | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if not self:
            self.signal_number, self.received_at = number, time.monotonic()
        elif time.monotonic() - self.received_at > REPEAT_SECONDS:
            self._restore()
            signal.raise_signal(number)


def child_handler() -> Any:
    """Returns this process's SIGCHLD handler."""
    return signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None


def set_child_handler(handler: Any) -> None:
    """Restores the SIGCHLD handler that torch replaces when it starts data workers.

    Torch's handler raises an error at any point of the training when a worker dies, even in the middle of a step. The
    loader detects by itself that no data arrives. Only the main thread can set a handler, so torch replaces it only
    there.
    """
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, handler)


def leave_signals_to_the_parent(worker: int) -> None:
    """Makes a data worker ignore stop signals: Ctrl-C reaches every process of the terminal, and the trainer still
    needs its workers to finish the step.

    If the trainer is killed, its workers are killed too, because they could keep its lock open for a while.
    """
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    _signal_on_parent_death(signal.SIGKILL)


def stop_with_the_parent() -> None:
    """Makes a training that another process started save and end when that process is killed (on Linux), and end at
    once if it was killed before this call."""
    _signal_on_parent_death(signal.SIGTERM)
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        signal.raise_signal(signal.SIGTERM)


def _signal_on_parent_death(number: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, number)
