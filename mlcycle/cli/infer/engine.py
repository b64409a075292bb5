"""What looks at the images of a folder: threads of this process, or workers of a Ray cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.cli.infer.options import Engine, InferOptions, Provider
from mlcycle.cli.infer.tally import number
from mlcycle.errors import UsageError

if TYPE_CHECKING:
    from mlcycle.inference.detect import DetectOptions, Detector
    from mlcycle.inference.record import Record, Source

    Look = Callable[[Iterable[Source], DetectOptions], Iterator[Record]]


def fitting(wishes: InferOptions, *, videos: bool) -> InferOptions:
    """Returns the wishes as the engine takes them: on Ray auto is the CPU, whatever the first machine has.

    Raises:
        UsageError: the engine cannot do what is asked of it.
    """
    if wishes.engine is Engine.local:
        if wishes.address:
            raise UsageError("--address names a Ray cluster, and none is asked for", "say --engine ray")
        return wishes
    if wishes.private or videos:
        option = "--private" if wishes.private else "--videos"
        raise UsageError(f"--engine ray does not know {option}", f"leave out {option}, or --engine ray")
    if not wishes.is_run():
        raise UsageError("--engine ray works on a run, which --out does not name", "give it a folder: --out RUN")
    if wishes.provider in (Provider.cuda, Provider.tensorrt):
        raise UsageError("--engine ray works on CPUs", f"leave out --provider {wishes.provider}, or --engine ray")
    if wishes.address not in (None, "auto") and not re.fullmatch(r"[^/]+:\d{1,5}", wishes.address):
        raise UsageError(f"--address {wishes.address} is no address of a cluster", "write auto, or HOST:PORT")
    return replace(wishes, provider=Provider.cpu) if wishes.provider is Provider.auto else wishes


@contextmanager
def engine(detector: Detector, wishes: InferOptions) -> Iterator[Look]:
    """Yields what takes images to records.

    Raises:
        MissingExtraError: Ray is asked for and not installed.
        DeviceError: the Ray cluster is not there, or cannot be started.
    """
    if wishes.engine is Engine.local:
        yield detector.detect_all
        return
    from mlcycle.extras import extra
    from mlcycle.inference.batch.worker_threads import cores
    from mlcycle.ray_engine.cluster import opened
    from mlcycle.ray_engine.detect import detect_all

    workers = wishes.threads or (None if wishes.address else cores())
    with extra("ray", "--engine ray"), opened(wishes.address, workers, loud=console.is_verbose()) as cluster:
        where = f"at {wishes.address}" if wishes.address else "on this machine"
        console.say(f"{number(cluster.workers, 'worker')} of Ray, {where}")
        yield lambda sources, options: detect_all(sources, detector, options, cluster)
