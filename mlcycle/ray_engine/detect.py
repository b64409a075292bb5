"""The conductor of `mlcycle infer dir --engine ray`: images → workers → records; reads from top to bottom.

Images go out in rounds, so that neither this process nor Ray's memory holds the names of all of them. Within a
round Ray Data gives some at a time to whichever worker is free, and has those done again whose worker died. So records
come in no order, but each comes once.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from mlcycle.inference.detect import DetectOptions, Detector, several
from mlcycle.inference.record import Record, Source
from mlcycle.ray_engine.cluster import Cluster
from mlcycle.ray_engine.worker import Answer, Orders

# Images of a round: for each worker, and at most. Workers begin anew with each round, so it should last some
# minutes; and it takes some 100 bytes an image.
ROUND, MOST = 20_000, 200_000
# Images that a worker is given at once, at most, and how often it is given some, at least: all should have work
# until the end. Ray Data takes 10 ms each time.
TOGETHER, TIMES = 32, 8


def detect_all(
    sources: Iterable[Source], detector: Detector, options: DetectOptions, cluster: Cluster
) -> Iterator[Record]:
    """Yields one record per source, in the order in which workers are done.

    Args:
        sources: images in files that all nodes of the cluster can read under the same paths.
        detector: the model that workers load from its file too.
        options: see DetectOptions; a worker looks at one image, or one batch, at a time.
        cluster: its workers.

    Raises:
        MlcycleError: a worker cannot begin (of the class that says why), workers died over and over, or Ray ended.
        OSError: the disk that copies are written to is full.
    """
    remaining, round_size = iter(sources), min(ROUND * cluster.workers, MOST)
    while some := list(islice(remaining, min(TOGETHER * TIMES * cluster.workers, round_size))):
        orders = _orders(some, detector, options)
        size = max(options.batch, min(TOGETHER, len(some) // (TIMES * cluster.workers)))
        rest = islice(remaining, round_size - len(some))
        rows = [{"sources": pickle.dumps(each)} for each in several(chain(some, rest), size)]
        for pickled in cluster.answers(orders, rows):
            answer: Answer = pickle.loads(pickled)
            if isinstance(answer, Exception):
                raise answer
            yield from answer


def _orders(some: list[Source], detector: Detector, options: DetectOptions) -> Orders:
    paths = (some[0].path, *some[0].copies.values())
    return Orders(
        model=detector.path.absolute(),
        sha256=detector.sha256,
        provider=detector.provider,
        options=options,
        folder=None if all(path.is_absolute() for path in paths) else Path.cwd(),
        # One image may have been taken away since it was found, but hardly eight.
        witness=next((each.path for each in some[:8] if os.path.exists(each.path)), None),  # noqa: PTH110
    )
