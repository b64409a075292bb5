"""Measures the wall-clock time of each part of a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

# Returns a context for a named part of a step: a stopwatch's, or that of torch's profiler (`record_function`).
Marker = Callable[[str], AbstractContextManager[object]]


class Stopwatch:
    """Sums the seconds of named parts.

    A GPU works asynchronously, so both ends of a part wait for it. This prevents overlap, so that the parts of a step
    add up to more than an unmeasured step takes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measures its block under this name."""
        finish(self.device)
        before = time.perf_counter()
        yield
        finish(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - before


def finish(device: torch.device) -> None:
    """Returns when the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
