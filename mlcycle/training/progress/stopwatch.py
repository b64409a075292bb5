"""How long each part of a step takes, by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

# Marks a stretch of a step by its name: for a stopwatch, or for torch's profiler (`torch.profiler.record_function`).
Marker = Callable[[str], AbstractContextManager[object]]


class Stopwatch:
    """Adds up the seconds of named stretches.

    A GPU does what it is asked to do later; so at both ends of a stretch its work is waited for. That takes away the
    overlap of stretches, and the parts of a step add up to more than a step takes otherwise.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stretch(self, name: str) -> Iterator[None]:
        """Counts its block under this name."""
        finish(self.device)
        before = time.perf_counter()
        yield
        finish(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - before


def finish(device: torch.device) -> None:
    """Returns when the device has done all that it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
