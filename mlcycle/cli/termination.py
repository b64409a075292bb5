"""SIGTERM and SIGHUP end a command: with its `finally` blocks if it can, and without them if it stays busy.

Python handles a signal only between two of its own instructions. A graph that computes for minutes, or threads that
`finally` blocks wait for, would keep the process alive for as long.
"""

from __future__ import annotations

import os
import signal
import threading
import time

# Seconds for `finally` blocks; service managers and container runtimes kill after ten or more.
GRACE = 5.0
# Seconds between attempts to interrupt the main thread.
AGAIN = 0.1

# The signal that the main thread has seen, once it has. Not an Event, whose lock a second signal could find taken.
_seen: list[int] = []


class Terminated(KeyboardInterrupt):
    """Raised by SIGTERM and SIGHUP. `finally` blocks run, and no `except Exception` catches it.

    Attributes:
        signal_number: the signal that arrived.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


def install() -> None:
    """Makes both signals raise Terminated in the main thread, and end this process GRACE seconds later in any case.

    A command that handles them in its own way, as training does, is not ended.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _terminate)  # the terminal was closed; nohup ignores the signal
    if os.name != "posix":  # the interpreter there writes to sockets only
        return
    arrived, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a child's signals are not this process's
    threading.Thread(target=_end_late, args=(arrived,), name="termination", daemon=True).start()


def _terminate(signal_number: int, frame: object) -> None:
    if not _seen:  # a second one would interrupt the `finally` blocks
        _seen.append(signal_number)
        raise Terminated(signal_number)


def _end_late(arrived: int) -> None:
    """Waits for the numbers of signals, which the interpreter writes to the pipe at once."""
    while number := os.read(arrived, 1):
        if signal.getsignal(number[0]) is not _terminate:
            continue
        _wait_while_cleaning_up(number[0])
        name = signal.Signals(number[0]).name
        os.write(2, f"error: still busy {GRACE:g} s after {name}, so nothing was cleaned up\n".encode())
        os._exit(128 + number[0])


def _wait_while_cleaning_up(signal_number: int) -> None:
    """Waits GRACE seconds, and interrupts the main thread until it has seen the signal.

    A signal that arrives just before a system call, or in another thread, does not interrupt that call.
    """
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    end = time.monotonic() + GRACE
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(AGAIN, left))
        if not _seen:
            signal.pthread_kill(main_thread, signal_number)
