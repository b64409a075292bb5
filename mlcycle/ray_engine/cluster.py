"""A Ray cluster, used through a separate driver process; see mlcycle.ray_engine.driver."""

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
from mlcycle.ray_engine.driver import Row, Start
from mlcycle.ray_engine.worker import WorkerSetup

# Seconds to wait for Ray to end; it takes two.
END_SECONDS = 20


class Cluster:
    """The workers of a Ray cluster.

    Attributes:
        workers: number of workers.
    """

    def __init__(self, process: subprocess.Popen[bytes], start: Start) -> None:
        self._process = process
        self._send(start)
        self.workers: int = self._receive()

    def map(self, setup: WorkerSetup, rows: list[Row]) -> Iterator[bytes]:
        """Yields the result of each row as it comes, in any order.

        Raises:
            MlcycleError: workers died repeatedly, or Ray ended.
        """
        self._send((setup, rows))
        while (result := self._receive()) is not None:
            yield result

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            message = pickle.load(self._process.stdout)
        except EOFError:
            raise self._ended() from None
        if isinstance(message, Exception):
            raise message
        return message

    def _ended(self) -> MlcycleError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        return MlcycleError(
            f"Ray ended unexpectedly with exit code {self._process.returncode}",
            "-v shows its output; finished images are kept: continue with --resume",
        )


@contextmanager
def open_cluster(address: str | None, workers: int | None, verbose: bool) -> Iterator[Cluster]:
    """Starts a cluster on this machine, which ends with the block, or connects to the one at `address`.

    Args:
        address: "auto" or HOST:PORT, or None to start a cluster.
        workers: number of workers; None takes one per core of the cluster.
        verbose: whether Ray's output goes to stderr.

    Raises:
        DeviceError: the cluster is not reachable, or cannot be started.
        ModuleNotFoundError: Ray Data is not installed.
    """
    with TemporaryDirectory(prefix="mlcycle-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = _start_driver()
        try:
            yield Cluster(process, Start(address, workers, verbose, folder))
        finally:
            _end(process)


def _start_driver() -> subprocess.Popen[bytes]:
    # Imports the running package itself, and nothing from the current folder of images (-P).
    package = str(Path(__file__).resolve().parent.parent.parent)
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), package)))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", "from mlcycle.ray_engine.driver import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,  # only this process handles Ctrl-C
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.terminate()
    process.stdout.close()  # it may be writing a result
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    finally:
        process.kill()
        process.wait()
        with suppress(ProcessLookupError):  # usually no child process is left
            os.killpg(process.pid, signal.SIGKILL)
