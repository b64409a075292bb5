"""Ctrl-C, SIGTERM and a terminal that is closed: finish the step, save, then go."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopRequest:
    """Remembers that a signal came, while its block runs; a second one ends the process as it would have without us.

    Attributes:
        signal_number: of the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.signal_number = 0

    def __bool__(self) -> bool:
        return self.signal_number != 0

    def __enter__(self) -> StopRequest:
        # What whoever started us told us to ignore, as nohup does with hang-ups, stays ignored.
        heard = [each for each in SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
        self._before = {each: signal.signal(each, self._remember) for each in heard}
        return self

    def __exit__(self, kind: type | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._give_back()


def leave_signals_to_the_parent(worker: int) -> None:
    """For data workers: a Ctrl-C goes to every process of the terminal, and the trainer still needs them to finish."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
