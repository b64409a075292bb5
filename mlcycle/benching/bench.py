"""The conductor of `mlcycle bench`: what is measured and images → one document. Read it top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlcycle.benching import (
    baseline,
    bench_images,
    cold_start,
    cost,
    early_stopping,
    energy,
    machine,
    memory,
    scenarios,
)
from mlcycle.benching.sections import search_section, sections, window
from mlcycle.benching.sending import load as loops
from mlcycle.benching.sending import multi_stream
from mlcycle.benching.sending.load import Limit, Load
from mlcycle.benching.sending.rate_search import STEPS, Trial, search
from mlcycle.benching.targets.target import PROCESS
from mlcycle.counted import counted
from mlcycle.errors import GateError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from mlcycle.benching.bench_images import ImageSet
    from mlcycle.benching.options import Plan
    from mlcycle.benching.sending.request_stats import RequestStats
    from mlcycle.benching.targets.target import Target
    from mlcycle.progress import Progress


# A trial of a search has as many requests as let so many be slow: with fewer, a rate that keeps the limit often fails.
SLOW_OF_TRIAL = 10
# The images → what is measured with them, until the end of the block.
OpenTarget = Callable[["ImageSet"], AbstractContextManager["Target"]]


@dataclass(frozen=True, slots=True)
class Run:
    """A load, the statistics of its requests, the energy by kind of hardware, and the trials of a search, if any."""

    load: Load
    stats: RequestStats
    energy: dict[str, Any]
    search: dict[str, Any] | None = None

    @property
    def latencies(self) -> Sequence[float]:
        """Returns milliseconds of the completed requests, or of the queries of several images."""
        return self.stats.latencies if self.load.samples_per_query is None else self.stats.queries

    @property
    def without_result(self) -> int:
        """Returns how many of them count as slower than all others."""
        stats = self.stats
        return stats.without_result if self.load.samples_per_query is None else stats.queries_without_result

    def result(self, plan: Plan) -> dict[str, Any] | None:
        """Returns what the scenario of the plan reports."""
        throughput = self.stats.throughput
        return scenarios.result(plan.scenario, self.latencies, self.without_result, throughput, plan.limit_ms)


def bench(
    open_target: OpenTarget,
    folder: Path | None,
    plan: Plan,
    progress: Progress,
    check: Callable[[dict[str, Any]], None] = lambda document: None,
) -> dict[str, Any]:
    """Measures the speed of a model or a server on the images of a folder, or on generated ones.

    Args:
        open_target: takes the images and yields what is measured.
        check: receives the sections that are known before the measurement, and can raise an error.

    Raises:
        InputError: the folder does not exist or has no images, or no request was completed.
        GateError: of a search, no rate keeps the limit.
        MlcycleError: a process of `mlcycle infer` failed.
    """
    if folder is None:
        progress.say(f"generating {bench_images.SYNTHETIC} images")
    with bench_images.opened(folder) as images, open_target(images) as target:
        document = conditions(target, images, plan)
        check(document)
        run = measure(target, images, plan, progress)
        document["settings"] |= {"rate": run.load.rate, "seconds": run.load.seconds}
        return document | results(target, images, plan, run, progress)


def conditions(target: Target, images: ImageSet, plan: Plan) -> dict[str, Any]:
    """Returns the sections of the document that are known before anything is measured."""
    load, found, is_open = plan.load, target.description, plan.load.rate is not None or plan.find_rate
    poisson = is_open and load.arrivals == "poisson"
    return {
        "schema_version": baseline.SCHEMA_VERSION,
        "kind": baseline.KIND,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"name": found.name, "sha256": found.sha256},
        "machine": {**found.machine, "load_average": machine.load_average() if target.is_here else None},
        "versions": machine.versions(),
        "settings": {
            "target": target.kind,
            "provider": found.provider,
            "threads": found.threads,
            "workers": found.workers,
            "scenario": plan.scenario,
            "concurrency": load.concurrency,
            "samples_per_query": load.samples_per_query,
            "rate": load.rate,
            "arrivals": load.arrivals if is_open else None,
            "seed": load.seed if poisson else None,
            "seconds": load.seconds,
            "warmup_seconds": plan.warmup_seconds,
        },
        "data": {"kind": images.kind, "images": len(images.paths), "fingerprint": images.fingerprint},
        "window": window(target.kind, is_open=is_open, in_queries=load.samples_per_query is not None),
    }


def measure(target: Target, images: ImageSet, plan: Plan, progress: Progress) -> Run:
    """Warms up, then measures requests, at one rate or at several.

    Raises:
        InputError: no request was completed.
        GateError: of a search, no rate keeps the limit.
    """
    if plan.warmup_seconds:
        progress.say(f"warming up for {plan.warmup_seconds:g} s")
        warm = loops.run(target.detect, Load(plan.warmup_seconds, plan.load.concurrency))
        _must_have_results(warm, images, tried_all=warm.failed.total() >= len(images.paths))
    if plan.find_rate:
        return _highest_rate(target, images, plan, progress)
    progress.say(f"measuring for {plan.load.seconds:g} s")
    run = _metered(target, plan.load)
    _must_have_results(run.stats, images, tried_all=True)
    return run


def results(target: Target, images: ImageSet, plan: Plan, run: Run, progress: Progress) -> dict[str, Any]:
    """Starts processes for the cold start; returns the measured sections of the document.

    Raises:
        MlcycleError: a process of `mlcycle infer` failed.
    """
    stats, own_peak = run.stats, memory.own_peak() if target.kind == PROCESS else None
    readable = images.paths[(stats.first_completed or 0) % len(images.paths)]
    return {
        **sections(stats, run.latencies, run.without_result, is_open=run.load.rate is not None),
        "result": run.result(plan),
        "rate_search": run.search,
        "cold_start": _cold_start(target.cold_start_command(readable), plan.cold_starts, progress),
        "peak_memory_bytes": own_peak,
        "energy": run.energy,
        "cost": None if plan.price is None else cost.per_million(plan.price, stats.throughput),
    }


def check_result(document: dict[str, Any]) -> None:
    """Raises GateError if the p99 of the server scenario is not known to keep its limit."""
    result = document["result"]
    if result is None or result["passed"] is not False:
        return
    limit, over, requests = result["limit_ms"], result["over_limit"], result["requests"]
    raise GateError(
        f"the p99 is not known to keep {limit:g} ms: {over:,} of {counted(requests, 'request')} took longer",
        f"lower the rate, or measure for longer: of {result['requests_needed']:,} so many may be slow",
    )


def _metered(target: Target, load: Load, limit: Limit | None = None) -> Run:
    """Sends requests while the energy is measured."""
    elsewhere = None if target.is_here else energy.Counters(why="the server runs on another machine")
    meters = {
        "processors": energy.Meter(elsewhere or energy.of_processors()),
        "gpu": energy.Meter(elsewhere or energy.of_gpu(target.description.provider)),
    }
    with meters["processors"], meters["gpu"]:
        if load.samples_per_query is None:
            stats = loops.run(target.detect, load, limit=limit)
        else:
            stats = multi_stream.run(target.detect, load)
    return Run(load, stats, {name: meter.result(stats.seconds, stats.completed) for name, meter in meters.items()})


def _highest_rate(target: Target, images: ImageSet, plan: Plan, progress: Progress) -> Run:
    limit_ms, share = plan.limit_ms or 0.0, scenarios.PERCENTILES[scenarios.SERVER] / 100
    progress.say(f"measuring the throughput for {plan.load.seconds:g} s")
    closed = loops.run(target.detect, Load(plan.load.seconds, plan.load.concurrency))
    _must_have_results(closed, images, tried_all=True)
    runs: dict[float, Run] = {}

    def attempt(rate: float) -> Trial:
        seconds = max(plan.load.seconds, early_stopping.needed(SLOW_OF_TRIAL, share) / rate)
        load = replace(plan.load, rate=rate, seconds=seconds)
        progress.say(f"trying {rate:.2f} per second for {seconds:.0f} s, {len(runs) + 1} of at most {STEPS}")
        most = early_stopping.allowed_over(len(load.due_times() or ()), share)
        runs[rate] = run = _metered(target, load, Limit(limit_ms, most))
        _must_have_results(run.stats, images, tried_all=bool(run.stats.failed))
        result = run.result(plan)
        passed = bool(result and result["passed"])
        verdict = "kept" if passed else "not kept"
        progress.say(f"{limit_ms:g} ms {verdict}: {run.stats.over_limit:,} were slower or failed, {most:,} may be")
        return Trial(rate, passed, run.stats)

    trials = search(attempt, closed.throughput)
    best = max((trial for trial in trials if trial.passed), key=lambda trial: trial.rate, default=None)
    if best is None:
        lowest = min(trial.rate for trial in trials)
        raise GateError(
            f"no rate from {lowest:.2f} per second on keeps a p99 of {limit_ms:g} ms",
            "allow more: --p99, or shorten the work: a smaller model or more threads for each image",
        )
    return replace(runs[best.rate], search=search_section(trials, closed.throughput))


def _cold_start(words: Sequence[str] | None, count: int, progress: Progress) -> dict[str, Any] | None:
    if not count or words is None:
        return None
    progress.say(f"measuring the cold start of mlcycle infer, {counted(count, 'time')}")
    with progress.bar("cold starts", count) as advance:
        return cold_start.measure(words, count, advance)


def _must_have_results(stats: RequestStats, images: ImageSet, *, tried_all: bool) -> None:
    if stats.completed or not tried_all:
        return
    codes = ", ".join(sorted([*stats.failed, *(["rejected"] if stats.rejected else [])]))
    raise InputError(
        f"none of {len(images.paths)} images was processed: {codes or 'not enough time'}",
        "for the reasons, run mlcycle infer dir DIR" if codes else "measure for longer: --duration",
    )
