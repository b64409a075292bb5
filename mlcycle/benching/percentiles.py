"""Milliseconds → percentiles and a histogram. Percentiles are measured latencies, without interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
BARS = 8
# Of the times in work that a document keeps.
LONGEST_SERIES, PIECES = 10_000, 20


def percentiles(milliseconds: Sequence[float], without_result: int = 0) -> dict[str, float | None]:
    """Returns p50, p90, p95, p99 and max: the lowest latency that this share of the requests did not exceed.

    Requests without a result count as slower than all others. A percentile that falls on one of them is None, as
    are all percentiles if there are no requests.
    """
    ordered_N = np.sort(np.asarray(milliseconds, np.float64))
    ranks = {name: math.ceil(round(share * (len(ordered_N) + without_result), 6)) for name, share in SHARES.items()}
    return {name: _at(ordered_N, rank) for name, rank in ranks.items()}


def series(milliseconds: Sequence[float]) -> list[float]:
    """Returns all values in their order; of more than LONGEST_SERIES, PIECES of consecutive ones, spread evenly.

    Neighbours stay neighbours: a slow second of a machine is what makes requests wait for each other.
    """
    count, length = len(milliseconds), LONGEST_SERIES // PIECES
    pieces = [milliseconds]
    if count > LONGEST_SERIES:
        starts = (place * (count - length) // (PIECES - 1) for place in range(PIECES))
        pieces = [milliseconds[start : start + length] for start in starts]
    return [round(each, 3) for piece in pieces for each in piece]


def histogram(milliseconds: Sequence[float]) -> list[dict[str, float | int]]:
    """Counts latencies in BARS equal bins from the lowest to p99, and those above in a last, wider bin.

    Returns from_ms, to_ms and count of each bin, in order. A latency on an edge counts in the bin above it.
    """
    ordered_N = np.sort(np.asarray(milliseconds, np.float64))
    if not len(ordered_N):
        return []
    p99, most = ordered_N[math.ceil(round(SHARES["p99"] * len(ordered_N), 6)) - 1], ordered_N[-1]
    edges = np.linspace(ordered_N[0], max(p99, ordered_N[0] + 0.001), BARS + 1).tolist()
    if most > edges[-1]:
        edges.append(float(most))
    counts = np.histogram(ordered_N, edges)[0].tolist()
    return [
        {"from_ms": round(low, 3), "to_ms": round(high, 3), "count": count}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _at(ordered_N: np.ndarray, rank: int) -> float | None:
    return round(float(ordered_N[rank - 1]), 3) if 0 < rank <= len(ordered_N) else None
