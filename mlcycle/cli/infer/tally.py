"""What `mlcycle infer` counts while it looks, for its closing line."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from mlcycle.cli.infer.options import InferOptions

if TYPE_CHECKING:
    from mlcycle.inference.record import Part, Record


class Tally:
    """Counts images, faces, failures and copies, and the time of each stage.

    Attributes:
        milliseconds: of each stage, summed over the images that reached it.
    """

    def __init__(self) -> None:
        self.images = self.faces = self.failed = 0
        self.copies: Counter[str] = Counter()
        self.milliseconds: defaultdict[str, float] = defaultdict(float)
        self._has_videos = False
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Returns how long it has been counting."""
        return max(time.perf_counter() - self._start, 1e-9)

    def count(self, record: Record) -> None:
        self.images += 1
        self.faces += len(record.scores_N)
        self.failed += record.error is not None
        self.copies.update(record.copies.keys())
        self._has_videos |= record.part is not None and record.part.kind == "frame"
        for stage, milliseconds in record.milliseconds.items():
            self.milliseconds[stage] += milliseconds

    def sentence(self) -> str:
        """Returns e.g. "12 images, 7 faces, 1 failed, 34.1 images a second"."""
        parts = [number(self.images, "image"), number(self.faces, "face"), f"{self.failed} failed"]
        return ", ".join([*parts, f"{self.images / self.seconds:.1f} images a second"])

    def copies_sentences(self, wishes: InferOptions) -> list[str]:
        """Returns where the copies are, of each kind that was written, and what of the original they have kept."""
        from mlcycle.inference.record import JPEG_QUALITY, MPEG4_QUANTISER, VP9_CRF

        videos = f"videos MPEG-4 of quantiser {MPEG4_QUANTISER} or VP9 of crf {VP9_CRF} with their sound as it was, "
        kept = f"; JPEGs of quality {JPEG_QUALITY}, {videos * self._has_videos}others lossless, none with metadata"
        said = {"annotated": "drawn in", "redacted": "redacted in", "cropped": "cut out in"}
        return [
            f"{said[kind]} {folder}{kept if kind == 'redacted' else ''}"
            for kind, folder in wishes.folders().items()
            if self.copies[kind]
        ]


def begins_a_file(part: Part | None) -> bool:
    """Tells whether an image is the first of its file, or the only one."""
    return part is None or part.number == 1


def number(count: int, word: str) -> str:
    """Returns e.g. "1 face" or "1,200 faces"."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
