"""The scenarios of MLPerf's LoadGen, and the one number that each reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlcycle.benching.early_stopping import CONFIDENCE, allowed_over, needed, upper_bound

SINGLE_STREAM, MULTI_STREAM, SERVER, OFFLINE = "single-stream", "multi-stream", "server", "offline"
# Scenario → the percentile of the latency that it reports; offline reports the throughput.
PERCENTILES = {SINGLE_STREAM: 90, MULTI_STREAM: 99, SERVER: 99}
# Images of a query in multi-stream, as in LoadGen.
SAMPLES_PER_QUERY = 8


def result(
    scenario: str | None,
    latencies: Sequence[float],
    without_result: int,
    throughput: float,
    limit_ms: float | None = None,
) -> dict[str, Any] | None:
    """Returns what a scenario reports; None without one. docs/bench.md describes the keys.

    Args:
        latencies: milliseconds of each completed request, or query.
        without_result: requests that count as slower than all others.
        throughput: images per second.
        limit_ms: the latency that the percentile must keep.
    """
    if scenario is None:
        return None
    if scenario == OFFLINE:
        return _result("images_per_second", round(throughput, 4))
    percent = PERCENTILES[scenario]
    share = percent / 100
    ordered = [*sorted(latencies), *[math.inf] * without_result]
    over = None if limit_ms is None else sum(latency > limit_ms for latency in ordered)
    return _result(
        f"p{percent}_ms",
        percentile(ordered, share),
        upper_bound_ms=_finite(upper_bound(ordered, share)),
        confidence=CONFIDENCE,
        requests=len(ordered),
        requests_needed=needed(1 if over is None else over, share),
        limit_ms=limit_ms,
        over_limit=over,
        passed=None if over is None else over <= allowed_over(len(ordered), share),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Returns the percentile as LoadGen does: the lowest latency that more than `share` of the requests kept."""
    return _finite(ordered[int(len(ordered) * share)]) if ordered else None


def _finite(milliseconds: float | None) -> float | None:
    return None if milliseconds is None or math.isinf(milliseconds) else round(milliseconds, 3)


def _result(metric: str, value: float | None, **more: Any) -> dict[str, Any]:
    keys = ("upper_bound_ms", "confidence", "requests", "requests_needed", "limit_ms", "over_limit", "passed")
    return {"metric": metric, "value": value} | {key: more.get(key) for key in keys}
