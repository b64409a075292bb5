"""Which device trains: the one asked for, or an error; never another one in silence."""

from __future__ import annotations

import os

import torch

from mlcycle.errors import DeviceError

NAMES = ("auto", "cuda", "mps", "cpu")


def choose_device(name: str) -> torch.device:
    """Returns the device of this name; "auto" is the first there is of cuda, mps and cpu.

    Raises:
        DeviceError: it is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(each for each, there in available.items() if there)
    if name not in available:
        raise DeviceError(f"there is no device called {name}", f"choose one of: {', '.join(NAMES)}")
    if not available[name]:
        there = ", ".join(each for each, is_there in available.items() if is_there)
        raise DeviceError(f"the device {name} was asked for and is not there", f"this machine has: {there}")
    return torch.device(name)


def share_processors(device: torch.device, workers: int | None) -> int:
    """Divides the processors between arithmetic and reading photographs; returns how many workers read.

    On a CPU, torch's threads wait for each other many times a step, and one that a reader pushes aside keeps all
    waiting; so the readers get processors of their own. OMP_NUM_THREADS, where set, is left to decide.
    """
    processors = available_processors()
    if workers is None:
        workers = max(1, processors // 2) if device.type == "cpu" else max(1, processors - 1)
        workers = min(8, workers)
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, processors - workers))
    return workers


def available_processors() -> int:
    """Returns how many processors this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe(device: torch.device) -> str:
    """Returns the device in words, for people and for the run's environment.json."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type
