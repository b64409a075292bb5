"""The driver process of Ray: `main`, which mlcycle.ray_engine.cluster starts and uses.

Ray prints on stdout and stderr from several threads and two languages, takes over signals, and kills a process that
loses its cluster. So it runs in a separate process. Pickles are exchanged over its standard input and output:

    → Start                               ← the number of workers, or an exception
    → WorkerSetup and the rows of a round ← the result of each row as it comes, then None; or an exception

The process ends when its standard input does, or at SIGTERM, and with it a cluster that it started.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import shutil
import signal
import socket
import sys
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from mlcycle.errors import DeviceError, MlcycleError
from mlcycle.ray_engine.worker import Worker, WorkerSetup

Row = dict[str, bytes]
# Ray's shared memory, for image names and records: a round takes a few megabytes.
SHARED_BYTES = 128 << 20
# Seconds for a cluster to accept a connection.
CONNECT_SECONDS = 10
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # sends no statistics
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread of Ray Data that outlives the cluster would start another one
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would pack the working folder, with all images
}
# A started cluster is private: it listens on the loopback only (on Linux too, despite the name), and if Ray supports
# tokens, requires one that is not in any file.
_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}


@dataclass(frozen=True, slots=True)
class Start:
    """The arguments of the driver process.

    Attributes:
        address: of the cluster, "auto" or HOST:PORT; None starts one on this machine.
        workers: number of workers; None takes one per core of the cluster.
        verbose: whether Ray's output goes to stderr.
        folder: an empty private folder for Ray's files; its path must be short.
    """

    address: str | None
    workers: int | None
    verbose: bool
    folder: str


def main() -> None:
    """Serves rounds until standard input ends."""
    signal.signal(signal.SIGTERM, _stop)
    requests, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    start: Start = pickle.load(requests)
    if not start.verbose:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    os.environ.update(_ALWAYS)  # before the import of Ray, which reads them
    if start.address is None:
        os.environ.update(_OWN, RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.chdir(start.folder)  # Ray's workers import from its current folder, which must not be one of images
    try:
        with _connected(start) as workers:
            _send(workers, results)
            _serve(requests, results, workers)
    except (MlcycleError, ModuleNotFoundError) as problem:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _send(problem, results)
    finally:
        shutil.rmtree(start.folder, ignore_errors=True)  # in case the parent process was killed


def _serve(requests: BinaryIO, results: BinaryIO, workers: int) -> None:
    while True:
        try:
            setup, rows = pickle.load(requests)
        except EOFError:
            return
        for result in _map(setup, rows, workers):
            _send(result, results)
        _send(None, results)


def _send(message: Any, results: BinaryIO) -> None:
    pickle.dump(message, results)
    results.flush()


@contextmanager
def _connected(start: Start) -> Iterator[int]:
    """Starts a cluster, or connects to one; yields the number of workers."""
    import ray
    import ray.data
    from ray.data import DataContext

    if start.address is not None:
        _must_be_reachable(start.address)
    try:
        level = logging.INFO if start.verbose else logging.CRITICAL
        ray.init(log_to_driver=start.verbose, logging_level=level, **_settings(start))
        signal.signal(signal.SIGTERM, _stop)  # Ray took it over
        context = DataContext.get_current()
        context.enable_progress_bars = False
        # A worker whose node shuts down may raise OSError first; mlcycle's own errors are results.
        context.actor_task_retry_on_errors = cast(Any, [OSError])
        if start.address is not None:
            _nodes_must_have_mlcycle()
        cores = int(ray.cluster_resources().get("CPU", 0))
    except (ConnectionError, OSError, RuntimeError, ValueError) as problem:
        raise _connection_error(start.address, problem) from problem
    else:
        if not cores:
            raise DeviceError("the Ray cluster has no CPU cores", "wait for its nodes, or choose another one")
        yield min(start.workers or cores, cores)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # do not interrupt the shutdown
        ray.shutdown()


def _nodes_must_have_mlcycle() -> None:
    """Raises DeviceError if a node lacks mlcycle; its workers would restart endlessly."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def probe() -> None:  # nested, so that Ray sends the function itself instead of its name
        import mlcycle.ray_engine.worker  # noqa: F401

    nodes = [each["NodeID"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")]
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    try:
        ray.get([ray.remote(probe).options(num_cpus=0, scheduling_strategy=each).remote() for each in strategies])
    except Exception as problem:
        raise _ray_error(problem) from problem


def _settings(start: Start) -> dict[str, Any]:
    if start.address is not None:
        return {"address": start.address}
    return {
        "address": "local",  # even if the environment names a cluster
        "num_cpus": start.workers,
        "include_dashboard": False,
        "object_store_memory": SHARED_BYTES,
        "_temp_dir": f"{start.folder}/ray",
    }


class CounterActor:
    """A Ray actor that counts attempts for all workers."""

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()

    def count(self, key: Hashable) -> int:
        self._counts[key] += 1
        return self._counts[key]


@dataclass(frozen=True, slots=True)
class SharedCount:
    """Counts with the actor from any worker; returns the count including this call."""

    actor: Any

    def __call__(self, key: Hashable) -> int:
        import ray

        return ray.get(self.actor.count.remote(key))


def _map(setup: WorkerSetup, rows: list[Row], workers: int) -> Iterator[bytes]:
    import ray
    import ray.data

    # Like Ray Data's actors, it is restarted whenever it dies, and unfinished calls are repeated.
    counter = ray.remote(CounterActor).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    try:
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            cast(Any, Worker),  # a class: Ray creates an instance in each process
            fn_constructor_args=(setup, SharedCount(counter)),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=1,
        )
        for row in results.iter_rows():
            yield row["result"]
    except Exception as problem:  # Ray has a dozen classes, and Ray Data others that do not derive from them
        raise _ray_error(problem) from problem


def _must_be_reachable(address: str) -> None:
    """Raises DeviceError if nothing listens at an address; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon:  # auto
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as problem:
        raise _connection_error(address, problem) from None


def _connection_error(address: str | None, problem: Exception) -> DeviceError:
    why = getattr(problem, "strerror", None) or " ".join(str(problem).split())[:300]
    if address is None:
        return DeviceError(f"Ray could not be started: {why}", "-v shows its output")
    return DeviceError(f"no Ray cluster can be reached at {address}: {why}", "ray start --head starts one")


def _ray_error(problem: Exception) -> MlcycleError:
    why = " ".join(str(problem).split())
    if "No module named 'mlcycle" in why:
        return DeviceError("a node of the Ray cluster lacks mlcycle", "install the same mlcycle on all nodes")
    return MlcycleError(f"Ray failed: {why[:300]}", "finished images are kept: continue with --resume")


def _stop(signal_number: int, frame: object) -> None:
    sys.exit(128 + signal_number)
