"""Where `mlcycle infer dir` detects faces: in threads of this process, or in workers of a Ray cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.cli.infer.options import Engine, InferOptions, Provider
from mlcycle.counted import counted
from mlcycle.errors import UsageError

if TYPE_CHECKING:
    from mlcycle.inference.detect import Detector
    from mlcycle.inference.pages_and_frames import DetectImages


def for_engine(options: InferOptions) -> InferOptions:
    """Checks the options against the engine; on Ray, the provider auto becomes cpu on every node.

    Raises:
        UsageError: the engine does not support an option.
    """
    if options.engine is Engine.local:
        if options.address:
            raise UsageError("--address needs a Ray cluster", "add --engine ray")
        return options
    if options.private or options.videos:
        option = "--private" if options.private else "--videos"
        raise UsageError(f"--engine ray does not support {option}", f"leave out {option}, or --engine ray")
    if not options.is_run():
        raise UsageError("--engine ray needs a run folder", "pass one: --out RUN")
    if options.provider in (Provider.cuda, Provider.tensorrt):
        raise UsageError("--engine ray runs on CPUs", f"leave out --provider {options.provider}, or --engine ray")
    if options.address not in (None, "auto") and not re.fullmatch(r"[^/]+:\d{1,5}", options.address):
        raise UsageError(f"--address {options.address} is not a cluster address", "pass auto, or HOST:PORT")
    return replace(options, provider=Provider.cpu) if options.provider is Provider.auto else options


@contextmanager
def open_engine(detector: Detector, options: InferOptions) -> Iterator[DetectImages]:
    """Yields the function that detects faces in images.

    Raises:
        MissingExtraError: Ray is requested and not installed.
        DeviceError: the Ray cluster is not reachable, or cannot be started.
    """
    if options.engine is Engine.local:
        yield detector.detect_all
        return
    from mlcycle.extras import extra
    from mlcycle.inference.batch.worker_threads import cores
    from mlcycle.ray_engine.cluster import open_cluster
    from mlcycle.ray_engine.detect import detect_on_cluster

    workers = options.threads or (None if options.address else cores())
    with extra("ray", "--engine ray"), open_cluster(options.address, workers, console.is_verbose()) as cluster:
        where = f"at {options.address}" if options.address else "on this machine"
        console.say(f"{counted(cluster.workers, 'Ray worker')} {where}")
        yield partial(detect_on_cluster, cluster, detector)
