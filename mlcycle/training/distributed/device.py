"""Which device trains: the one asked for, or an error; never another one in silence."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from mlcycle.errors import DeviceError

# The options' numbers in glibc's malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4

NAMES = ("auto", "cuda", "mps", "cpu")


class Readers(NamedTuple):
    """How many processes read images beside the training, and how many threads within it where there is none."""

    processes: int
    threads: int


def choose_device(name: str, index: int = 0) -> torch.device:
    """Returns the device of this name; "auto" is the first there is of cuda, mps and cpu.

    Args:
        index: which of the machine's GPUs.

    Raises:
        DeviceError: it is not there.
    """
    kind = _kind(name)
    if kind != "cuda":
        return torch.device(kind)
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"{index + 1} GPUs were asked for, and this machine has {torch.cuda.device_count()}", "lower --devices"
        )
    torch.cuda.set_device(index)  # for what asks for no device by number, as NCCL does
    return torch.device(kind, index)


def must_be_there(name: str, devices: int) -> None:
    """Raises DeviceError unless so many processes can train here, each on a device of this name.

    It takes none of a GPU's memory, as choosing one does.
    """
    kind = _kind(name)
    if kind == "mps" and devices > 1:
        raise DeviceError("one process can train on mps, not several", "leave out --devices")
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise DeviceError(
            f"{devices} GPUs were asked for, and this machine has {torch.cuda.device_count()}", "lower --devices"
        )


def _kind(name: str) -> str:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(each for each, there in available.items() if there)
    if name not in available:
        raise DeviceError(f"there is no device called {name}", f"choose one of: {', '.join(NAMES)}")
    if not available[name]:
        there = ", ".join(each for each, is_there in available.items() if is_there)
        raise DeviceError(f"the device {name} was asked for and is not there", f"this machine has: {there}")
    return name


def share_processors(device: torch.device, workers: int | None, processes: int = 1) -> Readers:
    """Divides the processors between arithmetic and reading images, in each of the processes that train here.

    Where a CPU trains, arithmetic and reading take turns on all of its processors: beside each other, torch's threads,
    which wait for each other many times a step, would all wait for one that a reader pushes aside. A reader process
    that is asked for gets a processor of its own instead. OMP_NUM_THREADS, where set, is left to decide.
    """
    processors = max(1, available_processors() // processes)
    if device.type != "cpu":
        return Readers(min(8, max(1, processors - 1)) if workers is None else workers, processors)
    workers = workers or 0
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, processors - workers))
    return Readers(workers, min(processors, torch.get_num_threads()))


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread while its block runs: several share out sums, and so the last digits of an answer are not
    the same on two cores and on four."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def preserved_torch_state() -> Iterator[None]:
    """Gives torch its threads, its present GPU and its random state back when its block ends: for a process that has
    other work, too."""
    threads, is_on_gpu = torch.get_num_threads(), torch.cuda.is_initialized()
    gpu = torch.cuda.current_device() if is_on_gpu else 0
    with torch.random.fork_rng(range(torch.cuda.device_count()) if is_on_gpu else ()):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            if is_on_gpu:
                torch.cuda.set_device(gpu)


def keep_memory() -> None:
    """Lets the C library keep the memory that a step gives back, for the next step.

    glibc hands large blocks back to the system at once, and gets each page of the next one zeroed: on two cores that
    took a quarter of a step. Elsewhere nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 2**28)):
            mallopt(option, value)


def available_processors() -> int:
    """Returns how many processors this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def instructions() -> str:
    """Returns which of a processor's instructions torch computes with, as AVX2: others give other last bits."""
    return str(torch.backends.cpu.get_cpu_capability())


def describe(device: torch.device, count: int = 1) -> str:
    """Returns the device in words, for people and for the run's environment.json; `count` of the same train."""
    alone = _describe_one(device)
    return alone if count == 1 else f"{count} x {alone}"


def _describe_one(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type
