"""A Ray cluster, held through a process in which Ray lives; see mlcycle.ray_engine.driver."""

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
from mlcycle.ray_engine.worker import Orders

# Seconds that Ray has to end in; it takes two.
PATIENCE = 20


class Cluster:
    """Workers that answer.

    Attributes:
        workers: how many there are.
    """

    def __init__(self, process: subprocess.Popen[bytes], start: Start) -> None:
        self._process = process
        self._send(start)
        self.workers: int = self._receive()

    def answers(self, orders: Orders, rows: list[Row]) -> Iterator[bytes]:
        """Yields the answer to each row as it comes, in any order.

        Raises:
            MlcycleError: workers died over and over, or Ray ended.
        """
        self._send((orders, rows))
        while (answer := self._receive()) is not None:
            yield answer

    def _send(self, thing: Any) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(thing, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            thing = pickle.load(self._process.stdout)
        except EOFError:
            raise self._ended() from None
        if isinstance(thing, Exception):
            raise thing
        return thing

    def _ended(self) -> MlcycleError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        return MlcycleError(
            f"Ray ended of itself, with exit code {self._process.returncode}",
            "-v shows what it said; what is done is kept: go on with --resume",
        )


@contextmanager
def opened(address: str | None, workers: int | None, *, loud: bool) -> Iterator[Cluster]:
    """Starts a cluster on this machine, which ends with the block, or connects to the one at `address`.

    Args:
        address: "auto" or HOST:PORT, or None.
        workers: how many to have; None takes as many as the cluster has cores.
        loud: whether what Ray says goes to stderr.

    Raises:
        DeviceError: the cluster is not there, or cannot be started.
        ModuleNotFoundError: Ray Data is not installed.
    """
    with TemporaryDirectory(prefix="mlcycle-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = _started()
        try:
            yield Cluster(process, Start(address, workers, loud, folder))
        finally:
            _end(process)


def _started() -> subprocess.Popen[bytes]:
    # The very package that is running, wherever it was started from; and nothing from among the images (-P).
    package = str(Path(__file__).resolve().parent.parent.parent)
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), package)))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", "from mlcycle.ray_engine.driver import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,  # Ctrl-C is this process's to answer
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.terminate()
    process.stdout.close()  # it may be about to answer
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        with suppress(ProcessLookupError):  # most often nothing is left of what it started
            os.killpg(process.pid, signal.SIGKILL)
