"""Chooses the device that trains: the requested one or an error, never silently another one."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from mlcycle.counted import counted
from mlcycle.errors import DeviceError
from mlcycle.machine import machine

# The numbers of these options in glibc's malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4

NAMES = ("auto", "cuda", "mps", "cpu")


class Readers(NamedTuple):
    """How many worker processes read images, and how many threads of the training itself read if there are none."""

    processes: int
    threads: int


def choose_device(name: str, index: int = 0) -> torch.device:
    """Returns the device of this name; "auto" is the first available of cuda, mps and cpu.

    Args:
        index: the number of the GPU on this machine.

    Raises:
        DeviceError: it is not available.
    """
    kind = _kind(name)
    if kind != "cuda":
        return torch.device(kind)
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"{index + 1} GPUs were requested, but this machine has {torch.cuda.device_count()}", "lower --devices"
        )
    torch.cuda.set_device(index)  # for code that uses the current device, such as NCCL
    return torch.device(kind, index)


def must_be_there(name: str, devices: int) -> None:
    """Raises DeviceError unless this many processes can train here, each on a device of this name.

    Unlike `choose_device` it does not allocate memory on a GPU.
    """
    kind = _kind(name)
    if kind == "mps" and devices > 1:
        raise DeviceError("only one process can train on mps", "leave out --devices")
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise DeviceError(
            f"{devices} GPUs were requested, but this machine has {torch.cuda.device_count()}", "lower --devices"
        )


def _kind(name: str) -> str:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(each for each, there in available.items() if there)
    if name not in available:
        raise DeviceError(f"unknown device: {name}", f"choose one of: {', '.join(NAMES)}")
    if not available[name]:
        there = ", ".join(each for each, is_there in available.items() if is_there)
        raise DeviceError(f"the device {name} is not available", f"this machine has: {there}")
    return name


def share_processors(device: torch.device, workers: int | None, processes: int = 1) -> Readers:
    """Divides the processors between computing and reading images, for each of the training processes on this machine.

    On a CPU, computing and reading take turns on all processors: torch's threads synchronise many times per step, so
    if reading ran at the same time, all of them would wait for the one that shares its core with a reader. Requested
    worker processes get processors of their own instead. OMP_NUM_THREADS, if set, takes precedence.
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
    """Computes on one thread while its block runs: several threads split sums, so that the last digits of a result
    would depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def preserved_torch_state() -> Iterator[None]:
    """Restores torch's thread count, current GPU and random state when its block ends, for a host process that also
    does other work."""
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
    """Makes the C library keep the memory that a step frees, for the next step.

    glibc returns large blocks to the system at once, and the system zeroes each page of the next one: on two cores this
    took a quarter of a step. Other C libraries are left unchanged.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 2**28)):
            mallopt(option, value)


def available_processors() -> int:
    """Returns how many processors this process may use, which can be fewer than the machine has."""
    return machine.cores().allowed


def instructions() -> str:
    """Returns the instruction set that torch computes with, such as AVX2; others give other last bits."""
    return str(torch.backends.cpu.get_cpu_capability())


def describe(device: torch.device, count: int = 1) -> str:
    """Returns the device in words, for messages and the run's environment.json; `count` of them train."""
    alone = _describe_one(device)
    return alone if count == 1 else f"{count} x {alone}"


def _describe_one(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({counted(torch.get_num_threads(), 'thread')})" if device.type == "cpu" else device.type
