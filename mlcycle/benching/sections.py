"""Statistics of requests → sections of the document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlcycle.benching import percentiles
from mlcycle.benching.targets.target import PROCESS, SERVER

if TYPE_CHECKING:
    from mlcycle.benching.sending.rate_search import Trial
    from mlcycle.benching.sending.request_stats import RequestStats

# Target → for what an image waits, and what is done with it then.
_WORK = {
    PROCESS: (
        "worker",
        "reading, decoding, resizing, running the model and selecting faces; without loading the model and writing "
        "results",
    ),
    SERVER: ("connection", "reading the file, sending it, the server's queue and work, and receiving the record"),
}


def window(target: str, *, is_open: bool, in_queries: bool) -> str:
    """Returns what the latency covers, as a sentence."""
    free, work = _WORK[target]
    if in_queries:
        return f"from the start of a query to the last of its records in memory: waiting for a free {free}, {work}"
    if is_open:
        return f"from the time an image is due to its record in memory: waiting for a free {free}, {work}"
    return f"from the call with the path of an image to its record in memory: {work}"


def sections(stats: RequestStats, latencies: Sequence[float], without_result: int, *, is_open: bool) -> dict[str, Any]:
    """Returns the sections requests, latency_ms, completed_ms, stages_ms, service_ms and histogram.

    Args:
        latencies: milliseconds of the completed requests, or of queries of several.
        without_result: how many of them count as slower than all others.
        is_open: whether requests were due at certain times.
    """
    return {
        "requests": {
            "completed": stats.completed,
            "completed_per_second": round(stats.throughput, 4),
            "failed": stats.failed.total(),
            "failed_by_code": dict(sorted(stats.failed.items())),
            "rejected": stats.rejected,
            "late": stats.late if is_open else 0,
            "never_started": stats.never_started,
            "seconds": round(stats.seconds, 4),
            "mean_pixels": round(stats.pixels / stats.completed),
        },
        "latency_ms": percentiles.percentiles(latencies, without_result),
        "completed_ms": percentiles.percentiles(latencies),
        "stages_ms": {stage: percentiles.percentiles(values) for stage, values in stats.stages.items()},
        "service_ms": percentiles.series(stats.work) if len(stats.work) == stats.completed else None,
        "histogram": percentiles.histogram(latencies),
    }


def search_section(trials: Sequence[Trial], throughput: float) -> dict[str, Any]:
    """Returns the section rate_search: the throughput in a closed loop, and the trials in order."""
    return {
        "closed_loop_per_second": round(throughput, 4),
        "trials": [
            {
                "rate": trial.rate,
                "passed": trial.passed,
                "completed": trial.stats.completed,
                "over_limit": trial.stats.over_limit,
            }
            for trial in trials
        ],
    }
