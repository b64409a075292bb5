"""The process in which Ray lives: `main`, started and spoken to by mlcycle.ray_engine.cluster.

Ray prints on stdout and stderr from several threads and two languages, takes over signals, and ends a process that has
lost its cluster on the spot. So it has a process of its own. Pickles go over its standard input and output:

    → Start                          ← the number of workers, or an exception
    → Orders and the rows of a round ← the answer to each row as it comes, None behind the last; or an exception

The process ends when its standard input does, or at SIGTERM, and a cluster that it started ends with it.
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
from mlcycle.ray_engine.worker import Orders, Worker

Row = dict[str, bytes]
# Ray's shared memory, for names of images and records: a round takes a few megabytes.
SHARED_BYTES = 128 << 20
# Seconds that a cluster has to answer in.
REACH_SECONDS = 10
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread of Ray Data that outlives the cluster would start another one
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would pack the working folder, with all images
}
# A cluster of one's own is nobody else's: it listens on the loopback alone (on Linux too, whatever the name says), and
# where Ray knows of passwords, to those who know one that is in no file.
_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}


@dataclass(frozen=True, slots=True)
class Start:
    """What the process begins with.

    Attributes:
        address: of the cluster, "auto" or HOST:PORT; None for one of its own on this machine.
        workers: how many to have; None takes as many as the cluster has cores.
        loud: whether all that Ray says goes to stderr.
        folder: an empty one that nobody else may enter, for what Ray puts down; its path has to be short.
    """

    address: str | None
    workers: int | None
    loud: bool
    folder: str


def main() -> None:
    """Serves rounds until standard input ends."""
    signal.signal(signal.SIGTERM, _stop)
    given, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    start: Start = pickle.load(given)
    if not start.loud:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    os.environ.update(_ALWAYS)  # before Ray is imported, which reads them once
    if start.address is None:
        os.environ.update(_OWN, RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.chdir(start.folder)  # Ray has workers import from where its process stands: not from among images
    try:
        with _connected(start) as workers:
            _send(workers, answers)
            _serve(given, answers, workers)
    except (MlcycleError, ModuleNotFoundError) as problem:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _send(problem, answers)
    finally:
        shutil.rmtree(start.folder, ignore_errors=True)  # also where nobody is left to do so


def _serve(given: BinaryIO, answers: BinaryIO, workers: int) -> None:
    while True:
        try:
            orders, rows = pickle.load(given)
        except EOFError:
            return
        for answer in _answered(orders, rows, workers):
            _send(answer, answers)
        _send(None, answers)


def _send(thing: Any, answers: BinaryIO) -> None:
    pickle.dump(thing, answers)
    answers.flush()


@contextmanager
def _connected(start: Start) -> Iterator[int]:
    """Starts a cluster, or connects to one; yields how many workers to have in it."""
    import ray
    import ray.data
    from ray.data import DataContext

    if start.address is not None:
        _reach(start.address)
    try:
        level = logging.INFO if start.loud else logging.CRITICAL
        ray.init(log_to_driver=start.loud, logging_level=level, **_settings(start))
        signal.signal(signal.SIGTERM, _stop)  # Ray took it over
        context = DataContext.get_current()
        context.enable_progress_bars = False
        # A worker whose node is going down may live to see its connections break. None of ours comes this way.
        context.actor_task_retry_on_errors = cast(Any, [OSError])
        if start.address is not None:
            _see_that_nodes_have_mlcycle()
        cores = int(ray.cluster_resources().get("CPU", 0))
    except (ConnectionError, OSError, RuntimeError, ValueError) as problem:
        raise _not_there(start.address, problem) from problem
    else:
        if not cores:
            raise DeviceError("the Ray cluster has no cores to work with", "wait for its nodes, or name another one")
        yield min(start.workers or cores, cores)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # so that it ends in peace
        ray.shutdown()


def _see_that_nodes_have_mlcycle() -> None:
    """Raises DeviceError if one has not; its workers would begin again and again."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look() -> None:  # inside, so that Ray sends the function and not its name
        import mlcycle.ray_engine.worker  # noqa: F401

    nodes = [each["NodeID"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")]
    there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    try:
        ray.get([ray.remote(look).options(num_cpus=0, scheduling_strategy=each).remote() for each in there])
    except Exception as problem:
        raise _in_our_words(problem) from problem


def _settings(start: Start) -> dict[str, Any]:
    if start.address is not None:
        return {"address": start.address}
    return {
        "address": "local",  # whatever the environment says
        "num_cpus": start.workers,
        "include_dashboard": False,
        "object_store_memory": SHARED_BYTES,
        "_temp_dir": f"{start.folder}/ray",
    }


class Register:
    """An actor that counts for all workers."""

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()

    def count(self, thing: Hashable) -> int:
        self._counts[thing] += 1
        return self._counts[thing]


@dataclass(frozen=True, slots=True)
class SharedCount:
    """Has the register count, from wherever a worker is."""

    register: Any

    def __call__(self, thing: Hashable) -> int:
        import ray

        return ray.get(self.register.count.remote(thing))


def _answered(orders: Orders, rows: list[Row], workers: int) -> Iterator[bytes]:
    import ray
    import ray.data

    # Like Ray Data's actors: begun again as often as they die, and asked again what they had not answered.
    register = ray.remote(Register).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    try:
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            cast(Any, Worker),  # a class: Ray makes one in each process
            fn_constructor_args=(orders, SharedCount(register)),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=1,
        )
        for row in done.iter_rows():
            yield row["answer"]
    except Exception as problem:  # Ray's have a dozen classes, and those of Ray Data are no children of theirs
        raise _in_our_words(problem) from problem


def _reach(address: str) -> None:
    """Raises DeviceError if nobody listens there; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon:  # auto
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except OSError as problem:
        raise _not_there(address, problem) from None


def _not_there(address: str | None, problem: Exception) -> DeviceError:
    said = getattr(problem, "strerror", None) or " ".join(str(problem).split())[:300]
    if address is None:
        return DeviceError(f"Ray could not be started: {said}", "-v shows what it said")
    return DeviceError(f"no Ray cluster can be reached at {address}: {said}", "ray start --head starts one")


def _in_our_words(problem: Exception) -> MlcycleError:
    said = " ".join(str(problem).split())
    if "No module named 'mlcycle" in said:
        return DeviceError("a node of the Ray cluster has no mlcycle", "install the same mlcycle on all nodes")
    return MlcycleError(f"Ray gave up: {said[:300]}", "what is done is kept: go on with --resume")


def _stop(signal_number: int, frame: object) -> None:
    sys.exit(128 + signal_number)
