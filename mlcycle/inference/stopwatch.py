"""Measures how long each stage of an image takes."""

from __future__ import annotations

import time


class Stopwatch:
    """Measures the milliseconds of each stage that an image reaches."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._since = 0.0

    def start(self) -> None:
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + (now - self._since) * 1000
        self._since = now
