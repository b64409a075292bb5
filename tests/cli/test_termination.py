"""SIGTERM ends a command that waits or is busy in a library, but not one that handles the signal in its own way."""

from __future__ import annotations

import signal
import subprocess
import sys

from conftest import environment

# A library that computes for minutes without returning to Python, as onnxruntime does with a slow graph.
BUSY = """
import hashlib, signal, sys
from mlcycle.cli import termination
termination.GRACE = 0.1
termination.install()
{handler}
words = ["busy"]
for rounds in {rounds}:
    try:
        if words:
            print(words.pop(), flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
    except termination.Terminated:  # the signal came first
        pass
print("done", flush=True)
"""


def stopped(handler: str, rounds: list[int]) -> tuple[int, str, str]:
    """Sends SIGTERM to a busy process; returns its exit code, stdout and stderr."""
    words = [sys.executable, "-c", BUSY.format(handler=handler, rounds=rounds)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "busy\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_process_that_is_busy_in_a_library_is_ended() -> None:
    code, out, err = stopped("", [1_000_000_000] * 2)
    assert (code, out) == (143, "")
    assert err == "error: still busy 0.1 s after SIGTERM, so nothing was cleaned up\n"


def test_a_command_that_handles_the_signal_itself_is_not_ended() -> None:
    handler = "signal.signal(signal.SIGTERM, lambda *_: print('handled'))"
    assert stopped(handler, [500_000]) == (0, "handled\ndone\n", "")


# A signal that another thread receives leaves the main thread's system call as it is, as one does that arrives just
# before that call.
WAITING = """
import signal, threading, time
from mlcycle.cli import termination
termination.install()
threading.Timer(0.2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
try:
    time.sleep(60)
finally:
    time.sleep(3 * termination.AGAIN)
    print("cleaned up", flush=True)
"""


def test_a_signal_that_does_not_interrupt_the_main_thread_still_ends_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WAITING], capture_output=True, text=True, env=environment(), timeout=60, check=False
    )
    assert done.stdout == "cleaned up\n"
    assert "still busy" not in done.stderr
    assert done.stderr.rstrip().endswith("Terminated")
