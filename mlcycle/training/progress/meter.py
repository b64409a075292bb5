"""Measures the rates, waiting times and memory of a training between two reports."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch import Tensor

# The key of the number of steps, next to the sums of losses.
ADDED = "steps"


class Meter:
    """Accumulates losses, times and counts until the next report.

    Args:
        device: whose memory is reported; on a CPU, the private memory of this process and its workers.
        seconds_before: seconds of training before this process, for a resumed run.
        unreported: the result of `unreported` in the previous process, whose losses belong to the next report.
    """

    def __init__(self, device: torch.device, seconds_before: float, unreported: Mapping[str, float]) -> None:
        self.device = device
        self.process = psutil.Process()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)  # memory probes are not part of the training
        self.start = time.perf_counter() - seconds_before
        self.steps, self.sums = 0, dict[str, Tensor]()
        self.restart()
        self.added = int(unreported.get(ADDED, 0))
        self.sums |= {name: torch.tensor(value, device=device) for name, value in unreported.items() if name != ADDED}

    def restart_if_idle(self) -> None:
        """Excludes the time since the last report (an evaluation, a checkpoint) from the next rate."""
        if not self.steps:
            self.since, self.waited = time.perf_counter(), 0.0

    def restart(self) -> None:
        """Starts a new interval."""
        self.since = time.perf_counter()
        self.waited, self.steps, self.images, self.flops, self.added = 0.0, 0, 0, 0, 0
        self.sums = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of its block as waiting for data."""
        before = time.perf_counter()
        yield
        self.waited += time.perf_counter() - before

    def add(self, losses: dict[str, Tensor], images: int, flops: int) -> None:
        """Counts a step: its losses, its number of images, and its floating-point operations."""
        self.steps += 1
        self.added += 1
        self.images += images
        self.flops += flops
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value

    def unreported(self) -> dict[str, float]:
        """Returns the losses of this interval for a checkpoint, so that a resumed run reports the same means."""
        return {ADDED: self.added, **{name: value.item() for name, value in self.sums.items()}} if self.added else {}

    def seconds(self) -> float:
        """Returns the seconds of training so far, including those before the run was resumed."""
        return time.perf_counter() - self.start

    def report(self) -> dict[str, Any]:
        """Returns the interval's mean losses, rates, share of time spent waiting, and memory; starts a new interval."""
        passed = time.perf_counter() - self.since
        entry: dict[str, Any] = {name: round(value.item() / self.added, 6) for name, value in self.sums.items()}
        entry["images_per_second"] = round(self.images / passed, 1)
        entry["flops_per_second"] = round(self.flops / passed)
        entry["seconds_per_step"] = round(passed / self.steps, 5)
        entry["data_wait_share"] = round(self.waited / passed, 4)
        entry["memory_bytes"] = self._memory()
        entry["seconds"] = round(self.seconds(), 2)
        self.restart()
        return entry

    def _memory(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        total = 0
        for process in (self.process, *self.process.children(recursive=True)):
            try:
                # Only private memory: a worker shares most of its pages with the trainer.
                total += process.memory_full_info().uss
            except psutil.Error:
                continue
        return total
