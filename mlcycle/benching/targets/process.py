"""The model in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.benching import cold_start, machine
from mlcycle.benching.sending.outcome import Outcome
from mlcycle.benching.targets.description import Description
from mlcycle.benching.targets.target import PROCESS

if TYPE_CHECKING:
    from mlcycle.benching.bench_images import ImageSet
    from mlcycle.inference.detect import Detector


class Process:
    """A detector and the images that it is given."""

    kind, is_here = PROCESS, True

    def __init__(self, detector: Detector, images: ImageSet, threads: int | None, workers: int) -> None:
        self._detector, self._images = detector, images
        self.description = Description(
            name=detector.contract.name,
            sha256=detector.sha256,
            provider=detector.provider,
            threads=threads,
            workers=workers,
            queue=None,
            machine=machine.describe(),
        )

    def detect(self, number: int) -> Outcome:
        """Takes an image from its file to its record in memory."""
        begin = time.perf_counter()
        record = self._detector.detect_file(self._images.paths[number % len(self._images.paths)])
        work_ms = (time.perf_counter() - begin) * 1000
        error = record.error[0] if record.error else ""
        return Outcome(error, stages=record.milliseconds, work_ms=work_ms, pixels=record.width * record.height)

    def cold_start_command(self, image: Path) -> Sequence[str]:
        """Returns the command `mlcycle infer` on one image, with the same model file, provider and threads."""
        return cold_start.command(self._detector, image, self.description.threads)


@contextmanager
def opened(detector: Detector, threads: int | None, workers: int, images: ImageSet) -> Iterator[Process]:
    """Yields a detector, loaded with so many threads, that so many workers give images to."""
    yield Process(detector, images, threads, workers)
