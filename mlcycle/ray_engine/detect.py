"""The conductor of `mlcycle infer dir --engine ray`: images → workers → records; reads from top to bottom.

Images are sent in rounds, so that neither this process nor Ray holds the names of all of them. Within a round, Ray Data
gives free workers some images at a time, and repeats those of a worker that dies. Records come in any order, each once.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from mlcycle.inference.detect import DetectOptions, Detector, chunked
from mlcycle.inference.record import Record, Source
from mlcycle.ray_engine.cluster import Cluster
from mlcycle.ray_engine.worker import WorkerResult, WorkerSetup

# Images in a round: per worker, and at most. Workers restart with each round, so a round should last some minutes; it
# takes about 100 bytes per image.
IMAGES_PER_WORKER, MAX_IMAGES = 20_000, 200_000
# Images in a call of a worker, at most, and calls of each worker, at least, so that all are busy until the end. Ray
# Data needs 10 ms per call.
MAX_IMAGES_PER_CALL, MIN_CALLS = 32, 8


def detect_on_cluster(
    cluster: Cluster, detector: Detector, sources: Iterable[Source], options: DetectOptions
) -> Iterator[Record]:
    """Yields one record per source, in the order in which workers finish.

    Args:
        cluster: the workers.
        detector: the model, which workers load from the same file.
        sources: image files that all nodes of the cluster can read under the same paths.
        options: see DetectOptions; a worker processes one image, or one batch, at a time.

    Raises:
        MlcycleError: a worker cannot start (of the class of its error), workers died repeatedly, or Ray ended.
        OSError: the disk of the copies is full.
    """
    remaining, round_size = iter(sources), min(IMAGES_PER_WORKER * cluster.workers, MAX_IMAGES)
    while first := list(islice(remaining, min(MAX_IMAGES_PER_CALL * MIN_CALLS * cluster.workers, round_size))):
        setup = _setup(first, detector, options)
        size = max(options.batch, min(MAX_IMAGES_PER_CALL, len(first) // (MIN_CALLS * cluster.workers)))
        rest = islice(remaining, round_size - len(first))
        rows = [{"sources": pickle.dumps(each)} for each in chunked(chain(first, rest), size)]
        for pickled in cluster.map(setup, rows):
            result: WorkerResult = pickle.loads(pickled)
            if isinstance(result, Exception):
                raise result
            yield from result


def _setup(first: list[Source], detector: Detector, options: DetectOptions) -> WorkerSetup:
    paths = (first[0].path, *first[0].copies.values())
    return WorkerSetup(
        model=detector.path.absolute(),
        sha256=detector.sha256,
        provider=detector.provider,
        options=options,
        folder=None if all(path.is_absolute() for path in paths) else Path.cwd(),
        # One image may have been removed since it was found, but hardly eight.
        visible_image=next((each.path for each in first[:8] if os.path.exists(each.path)), None),  # noqa: PTH110
    )
