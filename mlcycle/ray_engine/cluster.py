"""The workers of a Ray cluster, used through a separate driver process; see mlcycle.ray_engine.driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlcycle.ray_engine.driver import RESUME_HINT, Row
from mlcycle.ray_engine.driver_process import DriverProcess, driver_process
from mlcycle.ray_engine.driving import Start
from mlcycle.ray_engine.worker import WorkerSetup

# Ray's shared memory, for image names and records: a round takes a few megabytes.
SHARED_BYTES = 128 << 20


class Cluster:
    """The workers of a Ray cluster.

    Attributes:
        workers: number of workers.
    """

    def __init__(self, process: DriverProcess) -> None:
        self._process = process
        self.workers: int = process.receive()

    def map(self, setup: WorkerSetup, rows: list[Row]) -> Iterator[bytes]:
        """Yields the result of each row as it comes, in any order.

        Raises:
            MlcycleError: workers died repeatedly, or Ray ended.
        """
        self._process.send((setup, rows))
        while (result := self._process.receive()) is not None:
            yield result


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
    start = Start(address, workers, verbose, SHARED_BYTES)
    with driver_process("mlcycle.ray_engine.driver", start, f"-v shows its output; {RESUME_HINT}") as process:
        yield Cluster(process)
