"""The conductor of `mlcycle bench`: a model file and images → one document. Read it top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlcycle.benching import baseline, bench_images, cold_start, cost, energy, load, machine, memory, percentiles
from mlcycle.counted import counted
from mlcycle.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from mlcycle.benching.bench_images import ImageSet
    from mlcycle.benching.request_stats import RequestStats
    from mlcycle.inference.detect import Detector
    from mlcycle.inference.record import Record
    from mlcycle.progress import Progress

STAGES = (
    "reading, decoding, resizing, running the model and selecting faces; without loading the model and writing results"
)
WINDOW = {
    "closed": f"from the call with the path of an image to its record in memory: {STAGES}",
    "open": f"from the time an image is due to its record in memory: waiting for a free worker, {STAGES}",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure.

    Attributes:
        load: the load and its duration.
        warmup_seconds: duration of the warm-up; 0 for none.
        threads: threads of the model, as given to the detector; None if onnxruntime chooses.
        cold_starts: number of processes to start.
        price: price of this machine per hour, or None.
    """

    load: load.Load
    warmup_seconds: float = 1.0
    threads: int | None = None
    cold_starts: int = 5
    price: float | None = None


def bench(
    detector: Detector,
    folder: Path | None,
    plan: Plan,
    progress: Progress,
    check: Callable[[dict[str, Any]], None] = lambda document: None,
) -> dict[str, Any]:
    """Measures the speed of a detector on the images of a folder, or on generated ones.

    Args:
        check: receives the sections that are known before the measurement, and can raise an error.

    Raises:
        InputError: the folder does not exist or has no images, or no request was completed.
        MlcycleError: a process of `mlcycle infer` failed.
    """
    if folder is None:
        progress.say(f"generating {bench_images.SYNTHETIC} images")
    with bench_images.opened(folder) as images:
        document = conditions(detector, images, plan)
        check(document)
        return document | measure(detector, images, plan, progress)


def conditions(detector: Detector, images: ImageSet, plan: Plan) -> dict[str, Any]:
    """Returns the sections of the document that are known before anything is measured."""
    return {
        "schema_version": baseline.SCHEMA_VERSION,
        "kind": baseline.KIND,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"name": detector.contract.name, "sha256": detector.sha256},
        "machine": machine.describe(),
        "versions": machine.versions(),
        "settings": {
            "provider": detector.provider,
            "threads": plan.threads,
            "concurrency": plan.load.concurrency,
            "scenario": None,
            "rate": plan.load.rate,
            "arrivals": None if plan.load.rate is None else "uniform",
            "seed": None,
            "target": "process",
            "seconds": plan.load.seconds,
            "warmup_seconds": plan.warmup_seconds,
        },
        "data": {"kind": images.kind, "images": len(images.paths), "fingerprint": images.fingerprint},
        "window": WINDOW["closed" if plan.load.rate is None else "open"],
    }


def measure(detector: Detector, images: ImageSet, plan: Plan, progress: Progress) -> dict[str, Any]:
    """Warms up, measures requests, then starts processes; returns the measured sections of the document.

    Raises:
        InputError: no request was completed.
        MlcycleError: a process of `mlcycle infer` failed.
    """

    def detect(number: int) -> Record:
        return detector.detect_file(images.paths[number % len(images.paths)])

    if plan.warmup_seconds:
        progress.say(f"warming up for {plan.warmup_seconds:g} s")
        warm = load.run(detect, load.Load(plan.warmup_seconds, plan.load.concurrency))
        _must_have_results(warm, images, tried_all=warm.failed.total() >= len(images.paths))
    meters = {
        "processors": energy.Meter(energy.of_processors()),
        "gpu": energy.Meter(energy.of_gpu(detector.provider)),
    }
    progress.say(f"measuring for {plan.load.seconds:g} s")
    with meters["processors"], meters["gpu"]:
        stats = load.run(detect, plan.load)
    own_peak = memory.own_peak()
    _must_have_results(stats, images, tried_all=True)
    readable = images.paths[(stats.first_completed or 0) % len(images.paths)]
    return {
        **_sections(stats),
        "cold_start": _cold_start(cold_start.command(detector, readable, plan.threads), plan.cold_starts, progress),
        "peak_memory_bytes": own_peak,
        "energy": {name: meter.result(stats.seconds, stats.completed) for name, meter in meters.items()},
        "cost": None if plan.price is None else cost.per_million(plan.price, stats.throughput),
    }


def _cold_start(words: Sequence[str], count: int, progress: Progress) -> dict[str, Any] | None:
    if not count:
        return None
    progress.say(f"measuring the cold start of mlcycle infer, {counted(count, 'time')}")
    with progress.bar("cold starts", count) as advance:
        return cold_start.measure(words, count, advance)


def _sections(stats: RequestStats) -> dict[str, Any]:
    return {
        "requests": {
            "completed": stats.completed,
            "completed_per_second": round(stats.throughput, 4),
            "failed": stats.failed.total(),
            "failed_by_code": dict(sorted(stats.failed.items())),
            "late": stats.late,
            "never_started": stats.never_started,
            "seconds": round(stats.seconds, 4),
            "mean_pixels": round(stats.pixels / stats.completed),
        },
        "latency_ms": percentiles.percentiles(stats.latencies, stats.never_started),
        "stages_ms": {stage: percentiles.percentiles(values) for stage, values in stats.stages.items()},
        "service_ms": percentiles.quantiles(stats.service),
        "histogram": percentiles.histogram(stats.latencies),
    }


def _must_have_results(stats: RequestStats, images: ImageSet, *, tried_all: bool) -> None:
    if stats.completed or not tried_all:
        return
    codes = ", ".join(sorted(stats.failed))
    raise InputError(
        f"none of {len(images.paths)} images was processed: {codes or 'not enough time'}",
        "for the reasons, run mlcycle infer dir DIR" if codes else "measure for longer: --duration",
    )
