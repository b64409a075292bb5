"""Rates, waits and memory of a training, between two reports."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch import Tensor

# Beside the sums of losses: of how many steps they are.
ADDED = "steps"


class Meter:
    """Adds up what happens until the next report.

    Args:
        device: whose memory is told; on a CPU, what this process and its workers hold for themselves.
        seconds_before: of training, before this process took over.
        unreported: what `unreported` gave the process before, whose losses belong to the next report.
    """

    def __init__(self, device: torch.device, seconds_before: float, unreported: Mapping[str, float]) -> None:
        self.device = device
        self.process = psutil.Process()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)  # what was tried before it began is no part of the training
        self.start = time.perf_counter() - seconds_before
        self.steps, self.sums = 0, dict[str, Tensor]()
        self.restart()
        self.added = int(unreported.get(ADDED, 0))
        self.sums |= {name: torch.tensor(value, device=device) for name, value in unreported.items() if name != ADDED}

    def restart_if_idle(self) -> None:
        """Leaves the time since the last report (an evaluation, a checkpoint) out of the next rate."""
        if not self.steps:
            self.since, self.waited = time.perf_counter(), 0.0

    def restart(self) -> None:
        """Begins a new stretch."""
        self.since = time.perf_counter()
        self.waited, self.steps, self.images, self.flops, self.added = 0.0, 0, 0, 0, 0
        self.sums = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts its block as waiting for data."""
        before = time.perf_counter()
        yield
        self.waited += time.perf_counter() - before

    def add(self, losses: dict[str, Tensor], images: int, flops: int) -> None:
        """Counts a step: its losses, how many images it looked at and with how many floating-point operations."""
        self.steps += 1
        self.added += 1
        self.images += images
        self.flops += flops
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value

    def unreported(self) -> dict[str, float]:
        """Returns the losses of this stretch for a checkpoint, so that whoever goes on reports the same mean."""
        return {ADDED: self.added, **{name: value.item() for name, value in self.sums.items()}} if self.added else {}

    def seconds(self) -> float:
        """Returns the seconds of training so far, those before a resume included."""
        return time.perf_counter() - self.start

    def report(self) -> dict[str, Any]:
        """Returns the stretch's mean losses, rates, share of time spent waiting and memory, and begins a new one."""
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
                # Memory of its own alone: a worker shares most of its pages with the trainer.
                total += process.memory_full_info().uss
            except psutil.Error:
                continue
        return total
