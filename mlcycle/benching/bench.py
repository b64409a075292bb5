"""The conductor of `mlcycle bench`: a model file and images → one document with all figures; top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlcycle.benching import baseline, bench_images, cold_start, cost, energy, load, machine, memory, percentiles
from mlcycle.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from mlcycle.benching.bench_images import Album
    from mlcycle.benching.tally import Tally
    from mlcycle.inference.detect import Detector
    from mlcycle.inference.record import Record
    from mlcycle.progress import Progress

STAGES = (
    "reading, decoding, resizing, running the model and selecting faces; "
    "loading the model and writing results are outside"
)
WINDOW = {
    "closed": f"from the call with an image's path to its record in memory: {STAGES}",
    "open": f"from when an image is due to its record in memory: waiting until somebody is free, {STAGES}",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure.

    Attributes:
        load: how to ask, and for how long.
        warmup_seconds: for how long to ask before, counting nothing; 0 for not at all.
        threads: those that run the model, as the detector was told; None leaves onnxruntime the choice.
        cold_starts: how many fresh processes to start.
        price: of an hour of this machine, or None.
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
    """Measures how fast a detector is on the images below a folder, or on some that are made for it.

    Args:
        check: is given what is known of the document before anything is measured, and may refuse to go on.

    Raises:
        InputError: the folder is not there or holds none, or no image was answered for.
        MlcycleError: a fresh process of `mlcycle infer` failed.
    """
    if folder is None:
        progress.say(f"making {bench_images.SYNTHETIC} synthetic images")
    with bench_images.opened(folder) as album:
        document = circumstances(detector, album, plan)
        check(document)
        return document | measure(detector, album, plan, progress)


def circumstances(detector: Detector, album: Album, plan: Plan) -> dict[str, Any]:
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
            "rate": plan.load.rate,
            "seconds": plan.load.seconds,
            "warmup_seconds": plan.warmup_seconds,
        },
        "data": {"kind": album.kind, "images": len(album.paths), "fingerprint": album.fingerprint},
        "window": WINDOW["closed" if plan.load.rate is None else "open"],
    }


def measure(detector: Detector, album: Album, plan: Plan, progress: Progress) -> dict[str, Any]:
    """Warms up, asks for answers for a while, then starts fresh processes; returns the measured sections.

    Raises:
        InputError: no image was answered for.
        MlcycleError: a fresh process of `mlcycle infer` failed.
    """

    def answer(number: int) -> Record:
        return detector.detect_file(album.paths[number % len(album.paths)])

    if plan.warmup_seconds:
        progress.say(f"warming up for {plan.warmup_seconds:g} s")
        warm = load.run(answer, load.Load(plan.warmup_seconds, plan.load.concurrency))
        _refuse_silence(warm, album, asked_all=warm.failed.total() >= len(album.paths))
    meters = {
        "processors": energy.Meter(energy.of_processors()),
        "gpu": energy.Meter(energy.of_gpu(detector.provider)),
    }
    progress.say(f"measuring for {plan.load.seconds:g} s")
    with meters["processors"], meters["gpu"]:
        tally = load.run(answer, plan.load)
    own_peak = memory.own_peak()
    _refuse_silence(tally, album, asked_all=True)
    readable = album.paths[(tally.readable or 0) % len(album.paths)]
    if plan.cold_starts:
        progress.say(f"starting mlcycle infer afresh, {plan.cold_starts} times")
    with progress.bar("cold starts", plan.cold_starts) as advance:
        cold = cold_start.measure(cold_start.command(detector, readable, plan.threads), plan.cold_starts, advance)
    return {
        **_sections(tally),
        "cold_start": cold,
        "peak_memory_bytes": own_peak,
        "energy": {name: meter.result(tally.seconds, tally.answered) for name, meter in meters.items()},
        "cost": None if plan.price is None else cost.a_million(plan.price, tally.throughput),
    }


def _sections(tally: Tally) -> dict[str, Any]:
    return {
        "requests": {
            "answered": tally.answered,
            "answered_per_second": round(tally.throughput, 4),
            "failed": tally.failed.total(),
            "failed_by_code": dict(sorted(tally.failed.items())),
            "late": tally.late,
            "never_begun": tally.never_begun,
            "seconds": round(tally.seconds, 4),
            "mean_pixels": round(tally.pixels / tally.answered),
        },
        "latency_ms": percentiles.percentiles(tally.latencies, tally.never_begun),
        "stages_ms": {stage: percentiles.percentiles(values) for stage, values in tally.stages.items()},
        "histogram": percentiles.histogram(tally.latencies),
    }


def _refuse_silence(tally: Tally, album: Album, *, asked_all: bool) -> None:
    if tally.answered or not asked_all:
        return
    codes = ", ".join(sorted(tally.failed))
    raise InputError(
        f"none of {len(album.paths)} images was answered for: {codes or 'there was no time'}",
        "mlcycle infer dir DIR says why" if codes else "measure for longer: --duration",
    )
