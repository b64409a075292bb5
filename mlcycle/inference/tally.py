"""Counts images, faces, failures and copies, and sums the time of each stage."""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from mlcycle.inference.record import title

if TYPE_CHECKING:
    from mlcycle.inference.record import Record

# So many images with doubtful regions, and so many failed ones, are named.
_NAMED = 3


class Doubtful:
    """Counts the regions that were redacted although they score less than a face must.

    Attributes:
        below: the minimum score of a face.
        regions, images: number of doubtful regions, and of images that have one.
    """

    def __init__(self, below: float) -> None:
        self.below = below
        self.regions = self.images = 0
        self._most: list[tuple[int, str]] = []

    def count(self, record: Record) -> None:
        regions = int((record.scores_N < self.below).sum())
        if not regions:
            return
        self.regions += regions
        self.images += 1
        keep = heapq.heappush if len(self._most) < _NAMED else heapq.heappushpop
        keep(self._most, (regions, title(record.input, record.part)))

    def most(self) -> list[tuple[int, str]]:
        """Returns the number of doubtful regions and the title of the images with the most of them, in that order."""
        return sorted(self._most, reverse=True)


class Tally:
    """Counts records.

    Attributes:
        images, faces, failed: number of images, of faces, and of images with an error.
        frames: number of images that are frames of a video or a camera.
        copies: kind of copy → number of images that have one.
        milliseconds: stage → total time over the images that reached it.
        doubtful: counts doubtful regions too, if set.
        first_failed: title and error of the first failed images.
    """

    def __init__(self) -> None:
        self.images = self.faces = self.failed = self.frames = 0
        self.first_failed: list[tuple[str, str]] = []
        self.copies: Counter[str] = Counter()
        self.milliseconds: defaultdict[str, float] = defaultdict(float)
        self.doubtful: Doubtful | None = None
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Returns the time since counting began."""
        return max(time.perf_counter() - self._start, 1e-9)

    def count(self, record: Record) -> None:
        self.images += 1
        self.faces += len(record.scores_N)
        if record.error:
            self.failed += 1
            if len(self.first_failed) < _NAMED:
                self.first_failed.append((title(record.input, record.part), record.error[1]))
        self.copies.update(record.copies.keys())
        self.frames += record.part is not None and record.part.kind == "frame"
        for stage, milliseconds in record.milliseconds.items():
            self.milliseconds[stage] += milliseconds
        if self.doubtful and not record.error:
            self.doubtful.count(record)
