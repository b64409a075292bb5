"""A separate process for Ray, and the pickles that this process exchanges with it; see mlcycle.ray_engine.driving."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlcycle.errors import MlcycleError
from mlcycle.ray_engine.driving import Start

# Seconds to wait for Ray to end; it takes two.
END_SECONDS = 20


class DriverProcess:
    """A process that runs the function `main` of a module.

    Args:
        module: of `main`, which calls mlcycle.ray_engine.driving.drive.
        hint: what the user can do if the process ends unexpectedly.
    """

    def __init__(self, module: str, hint: str) -> None:
        self._process, self._hint = _started(module), hint

    def send(self, message: Any) -> None:
        """Sends a pickle; errors as in `receive`."""
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def receive(self) -> Any:
        """Returns the next message.

        Raises:
            MlcycleError: the process sent it, or ended unexpectedly.
            ModuleNotFoundError: a module of Ray is not installed.
        """
        assert self._process.stdout is not None
        try:
            message = pickle.load(self._process.stdout)
        except EOFError:
            raise self._ended() from None
        if isinstance(message, Exception):
            raise message
        return message

    def say_nothing_more(self) -> None:
        """Closes this end; messages can still be received."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """Ends the process and what it started."""
        process = self._process
        assert process.stdout is not None
        process.terminate()
        process.stdout.close()  # it may be writing a result
        self.say_nothing_more()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
        finally:
            process.kill()
            process.wait()
            with suppress(ProcessLookupError):  # usually no child process is left
                os.killpg(process.pid, signal.SIGKILL)

    def _ended(self) -> MlcycleError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        return MlcycleError(f"Ray ended unexpectedly with exit code {self._process.returncode}", self._hint)


@contextmanager
def driver_process(module: str, start: Start, hint: str) -> Iterator[DriverProcess]:
    """Starts a driver process and sends it `start`, with an empty folder for Ray's files; both end with the block."""
    with TemporaryDirectory(prefix="mlcycle-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = DriverProcess(module, hint)
        try:
            process.send(start.in_folder(folder))
            yield process
        finally:
            process.end()


def _started(module: str) -> subprocess.Popen[bytes]:
    # Imports the running package itself, and nothing from the current folder of images (-P).
    package = str(Path(__file__).resolve().parent.parent.parent)
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), package)))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {module} import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,  # only this process handles Ctrl-C
    )
