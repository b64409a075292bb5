"""A worker of a Ray cluster: it loads the model once and detects faces in the images it is given."""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path

import mlcycle
from mlcycle.artifact.seal import read_sealed
from mlcycle.errors import InputError, MlcycleError, ModelFileError, UsageError
from mlcycle.inference.detect import DetectOptions, Detector, load_sealed
from mlcycle.inference.record import Record, Source
from mlcycle.machine import own_process

WorkerResult = list[Record] | MlcycleError | OSError
# Counts the attempts of all workers at something; returns their number including this one.
CountAttempt = Callable[[Hashable], int]
# Attempts at an image that kills workers; after that the run fails.
MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What all workers need.

    Attributes:
        model: the model file, under a path that is valid on all nodes.
        sha256: the digest that it must have.
        provider: that runs it.
        options: how to detect faces; a worker has one thread.
        folder: the current folder for relative paths, or None if all paths are absolute.
        visible_image: an existing image; a worker that does not see it would find no image at all.
        version: of mlcycle.
    """

    model: Path
    sha256: str
    provider: str
    options: DetectOptions
    folder: Path | None
    visible_image: Path | None
    version: str = mlcycle.__version__


class Worker:
    """Loads the model once, then returns the records of images with each call.

    An error that ends the run is returned as a result: Ray would wrap an exception in its own classes, and would
    restart a worker that fails to start again and again.
    """

    def __init__(self, setup: WorkerSetup, count_attempt: CountAttempt) -> None:
        own_process.claim()  # Ray started it for this alone
        self._options = replace(setup.options, workers=1)
        self._count_attempt = count_attempt
        self._detector: Detector | None = None
        self._problem: MlcycleError | None = None
        try:
            self._detector = _load(setup)
        except MlcycleError as problem:
            self._problem = type(problem)(f"{problem.message}, on the node {platform.node()}", problem.hint)

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """Maps {"sources": a pickled list[Source]} to {"result": a pickled WorkerResult}."""
        return {"result": pickle.dumps(self._detect(pickle.loads(row["sources"])))}

    def _detect(self, sources: list[Source]) -> WorkerResult:
        if self._detector is None:
            assert self._problem is not None
            return self._problem
        try:
            if self._count_attempt(("all from", sources[0].identity)) == 1:
                return list(self._detector.detect_all(sources, self._options))
            # A worker died on them: now one by one, to find out on which image.
            return [record for source in sources for record in self._retry(source, self._detector)]
        except (MlcycleError, OSError) as problem:  # OSError: the disk of the copies is full
            return problem

    def _retry(self, source: Source, detector: Detector) -> list[Record]:
        if self._count_attempt(("one", source.identity)) > MAX_ATTEMPTS:
            raise MlcycleError(
                f"{MAX_ATTEMPTS} workers in a row died on the image {source.key}",
                "check the free memory, or remove the image; then continue with --resume",
            )
        return detector.detect_batch([source], self._options)


def _load(setup: WorkerSetup) -> Detector:
    if setup.version != mlcycle.__version__:
        raise UsageError(
            f"mlcycle is {mlcycle.__version__} there and {setup.version} here", "install the same version on all nodes"
        )
    if setup.folder is not None:
        try:
            os.chdir(setup.folder)
        except OSError as problem:
            raise InputError(
                f"the folder {setup.folder} cannot be opened: {problem.strerror}", "mount the same disk on all nodes"
            ) from None
    if setup.visible_image is not None and not os.path.exists(setup.visible_image):  # noqa: PTH110 (Path.exists raises)
        raise InputError(f"no such image: {setup.visible_image}", "mount the folder under the same path on all nodes")
    sealed = read_sealed(setup.model)
    if sealed.sha256 != setup.sha256:  # before it is parsed, because the first process may have required a signature
        raise ModelFileError(
            f"{setup.model} is {sealed.sha256[:12]} there, and was {setup.sha256[:12]} here",
            "do not replace it while it is in use, and provide the same file to all nodes",
        )
    return load_sealed(sealed, provider=setup.provider, threads=1)
