"""What a worker of a Ray cluster does: it loads the model once, and looks at the images that it is given."""

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

Answer = list[Record] | MlcycleError | OSError
# Counts how often something was begun, by all workers, and returns that with this time.
Begun = Callable[[Hashable], int]
# How often an image is begun that workers die over. It must not kill them for ever.
TRIES = 3


@dataclass(frozen=True, slots=True)
class Orders:
    """What all workers are told.

    Attributes:
        model: the model file, under a path that holds on all nodes.
        sha256: what its digest must be.
        provider: what runs it.
        options: how to look at images; a worker has one lane.
        folder: where relative paths begin, or None where there are none.
        witness: an image that is there, as this process saw it; a worker that does not would find none at all.
        version: of mlcycle.
    """

    model: Path
    sha256: str
    provider: str
    options: DetectOptions
    folder: Path | None
    witness: Path | None
    version: str = mlcycle.__version__


class Worker:
    """Loads the model once, then takes images to records, call by call.

    What stops a run is no exception, but the worker's answer: Ray would wrap an exception in others of its own, and
    would make a worker that cannot begin again and again.
    """

    def __init__(self, orders: Orders, begun: Begun) -> None:
        own_process.claim()  # Ray started it for this alone
        self._options = replace(orders.options, workers=1)
        self._begun = begun
        self._detector: Detector | None = None
        self._problem: MlcycleError | None = None
        try:
            self._detector = _begin(orders)
        except MlcycleError as problem:
            self._problem = type(problem)(f"{problem.message}, says a worker on {platform.node()}", problem.hint)

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """Takes {"sources": a pickled list[Source]} to {"answer": a pickled Answer}."""
        return {"answer": pickle.dumps(self._answer(pickle.loads(row["sources"])))}

    def _answer(self, sources: list[Source]) -> Answer:
        if self._detector is None:
            assert self._problem is not None
            return self._problem
        try:
            if self._begun(("all from", sources[0].identity)) == 1:
                return list(self._detector.detect_all(sources, self._options))
            # A worker has died over them: one by one, so that it comes out over which.
            return [record for source in sources for record in self._once_more(source, self._detector)]
        except (MlcycleError, OSError) as problem:  # OSError: the disk for copies is full
            return problem

    def _once_more(self, source: Source, detector: Detector) -> list[Record]:
        if self._begun(("one", source.identity)) > TRIES:
            raise MlcycleError(
                f"{TRIES} workers in a row died over the image {source.key}",
                "is memory short? else take it out of the folder; then go on with --resume",
            )
        return detector.detect_batch([source], self._options)


def _begin(orders: Orders) -> Detector:
    if orders.version != mlcycle.__version__:
        raise UsageError(
            f"mlcycle is {mlcycle.__version__} there and {orders.version} here", "install the same on all nodes"
        )
    if orders.folder is not None:
        try:
            os.chdir(orders.folder)
        except OSError as problem:
            raise InputError(
                f"{orders.folder} cannot be entered: {problem.strerror}", "all nodes must see the same disk"
            ) from None
    if orders.witness is not None and not os.path.exists(orders.witness):  # noqa: PTH110 (Path.exists can raise)
        raise InputError(
            f"the image {orders.witness} is not there", "all nodes must see the folder under the same path"
        )
    sealed = read_sealed(orders.model)
    if sealed.sha256 != orders.sha256:  # before anything looks into it: the first process may have demanded a signature
        raise ModelFileError(
            f"{orders.model} is {sealed.sha256[:12]} there, and was {orders.sha256[:12]} here",
            "do not replace it while it is used, and let all nodes see the same file",
        )
    return load_sealed(sealed, provider=orders.provider, threads=1)
