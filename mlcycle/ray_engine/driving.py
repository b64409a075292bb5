"""What a driver process of Ray does first and last: its streams, its environment, and its connection to a cluster.

Ray prints on stdout and stderr from several threads and two languages, takes over signals, and kills a process that
loses its cluster. So it runs in a separate process. Pickles are exchanged over its standard input and output; the first
one is a Start. The process ends when its standard input does, or at SIGTERM, and with it a cluster that it started.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mlcycle.errors import DeviceError, MlcycleError

# Seconds for a cluster to accept a connection.
CONNECT_SECONDS = 10
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # sends no statistics
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread of Ray Data that outlives the cluster would start another one
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would pack the working folder, with all images
}
# A started cluster is private: it listens on the loopback only (on Linux too, despite the name), and if Ray supports
# tokens, requires one that is not in any file.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_OWN = {**_LOOPBACK_ONLY, "RAY_AUTH_MODE": "token"}


@dataclass(frozen=True, slots=True)
class Start:
    """The arguments of a driver process.

    Attributes:
        address: of the cluster, "auto" or HOST:PORT; None starts one on this machine.
        cores: of the cluster that is started; None takes those of the machine.
        verbose: whether Ray's output goes to stderr.
        shared_bytes: of the shared memory of a cluster that is started.
        environment: variables for all processes of Ray.
        folder: an empty private folder for Ray's files; its path must be short.
    """

    address: str | None
    cores: int | None
    verbose: bool
    shared_bytes: int
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""

    def in_folder(self, folder: str) -> Start:
        """Returns the same arguments with a folder."""
        return replace(self, folder=folder)


class ParentProcess:
    """The process that started this one, at the other end of standard input and output."""

    def __init__(self) -> None:
        self._input, self._output = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")

    def receive(self) -> Any:
        """Returns the next message.

        Raises:
            EOFError: there is none, because the parent process has ended.
        """
        return pickle.load(self._input)

    def send(self, message: Any) -> None:
        pickle.dump(message, self._output)
        self._output.flush()

    def says_nothing_more(self, seconds: float) -> bool:
        """Waits until the parent process closes its end; returns whether it did within the time."""
        return bool(select.select([self._input], [], [], seconds)[0])


def drive(work: Callable[[ParentProcess, Start], None]) -> None:
    """Runs `work` as a driver process; its errors are sent to the parent process."""
    signal.signal(signal.SIGTERM, _stop)
    parent = ParentProcess()
    start: Start = parent.receive()
    if not start.verbose:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    os.environ.update(_ALWAYS)  # before the import of Ray, which reads them
    os.environ.update(start.environment)
    if start.address is None:
        os.environ.update(_OWN, RAY_AUTH_TOKEN=secrets.token_hex(32))
    elif _is_on_loopback_only(start.address):
        os.environ.update(_LOOPBACK_ONLY)
    os.chdir(start.folder)  # Ray's workers import from its current folder, which must not be one of images
    try:
        work(parent, start)
    except (MlcycleError, ModuleNotFoundError) as problem:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        parent.send(problem)
    finally:
        shutil.rmtree(start.folder, ignore_errors=True)  # in case the parent process was killed


@contextmanager
def connected(start: Start, probe: Callable[[], None], hint: str) -> Iterator[int]:
    """Starts a cluster, or connects to one, until the block ends; yields the number of its cores.

    Args:
        probe: a nested function that imports what the nodes must have.
        hint: of the errors of Ray itself.

    Raises:
        DeviceError: the cluster is not reachable, cannot be started, has no cores, or a node lacks mlcycle.
    """
    import ray

    if start.address is not None:
        _must_be_reachable(start.address)
    try:
        level = logging.INFO if start.verbose else logging.CRITICAL
        ray.init(log_to_driver=start.verbose, logging_level=level, **_settings(start))
        signal.signal(signal.SIGTERM, _stop)  # Ray took it over
        if start.address is not None:
            on_each_node(probe, hint)
        cores = int(ray.cluster_resources().get("CPU", 0))
    except MlcycleError:
        raise
    except Exception as problem:  # if the machine is too busy, Ray raises a plain one after 30 seconds
        raise _connection_error(start.address, problem) from problem
    else:
        if not cores:
            raise DeviceError("the Ray cluster has no CPU cores", "wait for its nodes, or choose another one")
        yield cores
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # do not interrupt the shutdown
        ray.shutdown()


def on_each_node(probe: Callable[..., Any], hint: str, *arguments: Any) -> list[Any]:
    """Returns what a function returns on each node with cores; it must be nested, so that Ray sends it itself.

    Raises:
        DeviceError: a node lacks mlcycle; its workers would restart endlessly.
        MlcycleError: it failed in another way.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [each["NodeID"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")]
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    task = ray.remote(probe)
    try:
        return ray.get([task.options(num_cpus=0, scheduling_strategy=each).remote(*arguments) for each in strategies])
    except Exception as problem:
        raise ray_error(problem, hint) from problem


def ray_error(problem: Exception, hint: str) -> MlcycleError:
    """Returns mlcycle's error for one of Ray's, of which there are a dozen classes."""
    why = " ".join(str(problem).split())
    if "No module named 'mlcycle" in why:
        return DeviceError("a node of the Ray cluster lacks mlcycle", "install the same mlcycle on all nodes")
    return MlcycleError(f"Ray failed: {why[:300]}", hint)


def _settings(start: Start) -> dict[str, Any]:
    if start.address is not None:
        variables = {"runtime_env": {"env_vars": dict(start.environment)}} if start.environment else {}
        return {"address": start.address, **variables}
    return {
        "address": "local",  # even if the environment names a cluster
        "num_cpus": start.cores,
        "include_dashboard": False,
        "object_store_memory": start.shared_bytes,
        "_temp_dir": f"{start.folder}/ray",
    }


def _must_be_reachable(address: str) -> None:
    """Raises DeviceError if nothing listens at an address; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon:  # auto
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as problem:
        raise _connection_error(address, problem) from None


def _is_on_loopback_only(address: str) -> bool:
    """Returns whether a cluster listens at 127.0.0.1 alone: Ray would look for it at the machine's own address."""
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost"):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # finds the own address, and sends nothing
            socket.create_connection((probe.getsockname()[0], int(port)), timeout=1).close()
        except OSError:
            return True
    return False


def _connection_error(address: str | None, problem: Exception) -> DeviceError:
    why = getattr(problem, "strerror", None) or " ".join(str(problem).split())[:300]
    if address is None:
        return DeviceError(f"Ray could not be started: {why}", "-v shows its output")
    return DeviceError(f"no Ray cluster can be reached at {address}: {why}", "ray start --head starts one")


def _stop(signal_number: int, frame: object) -> None:
    sys.exit(128 + signal_number)
