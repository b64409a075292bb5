"""Simulated latencies → percentiles, with intervals that respect that neighbouring requests are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

# Of a normal distribution: 95 % lie within so many standard deviations.
NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a load does to some replicas.

    Attributes:
        replicas: number of them.
        rate: requests per second to all of them.
        utilisation: share of the time that a worker is busy.
        requests: number of simulated ones.
        rejected: share of the requests that found the queue full.
        p50, p99: milliseconds; rejected requests count as slower than all others; inf if it falls on one of them.
        p99_interval: a 95 % interval of p99.
        answered_p99: p99 of those that were not rejected; NaN if there are none.
    """

    replicas: int
    rate: float
    utilisation: float
    requests: int
    rejected: float
    p50: float
    p99: float
    p99_interval: tuple[float, float]
    answered_p99: float

    @property
    def is_overloaded(self) -> bool:
        """Returns whether so many requests are rejected that there is no p99."""
        return math.isinf(self.p99)

    def keeps(self, p99: float) -> bool:
        """Returns whether the p99 is at most `p99` milliseconds, up to the upper end of its interval."""
        return self.p99_interval[1] <= p99

    def as_dict(self) -> dict[str, Any]:
        """Returns the estimate for JSON; percentiles that fall on rejected requests are None."""
        return {
            "replicas": self.replicas,
            "rate": round(self.rate, 4),
            "utilisation": round(self.utilisation, 4),
            "p50_ms": _finite(self.p50),
            "p99_ms": _finite(self.p99),
            "p99_interval_ms": [_finite(end) for end in self.p99_interval],
            "rejected": round(self.rejected, 6),
            "answered_p99_ms": _finite(self.answered_p99),
            "requests": self.requests,
        }


def estimate(latencies_SG: np.ndarray, replicas: int, rate: float, offered: float) -> Estimate:
    """Summarises latencies.

    Args:
        latencies_SG: milliseconds, inf where rejected; a column is a group that is independent of the others.
        offered: workers that the load would keep busy, as a share of those that there are.
    """
    ordered_N = np.sort(latencies_SG, axis=None)
    answered = int(np.searchsorted(ordered_N, np.inf))
    rejected = 1 - answered / len(ordered_N)
    p99 = _at(ordered_N, 0.99)
    # Of the share of latencies up to p99: its mean is .99, and its groups say how uncertain it is.
    error = float(np.std((latencies_SG <= p99).mean(0), ddof=1)) / math.sqrt(latencies_SG.shape[1])
    ends = [_at(ordered_N, 0.99 + sign * NORMAL_95 * error) for sign in (-1, 1)]
    return Estimate(
        replicas,
        rate,
        utilisation=offered * (1 - rejected),
        requests=len(ordered_N),
        rejected=rejected,
        p50=_at(ordered_N, 0.5),
        p99=p99,
        p99_interval=(ends[0], ends[1]),
        answered_p99=_at(ordered_N[:answered], 0.99) if answered else math.nan,
    )


def _at(ordered_N: np.ndarray, share: float) -> float:
    """Returns the lowest value that this share of the values does not exceed."""
    rank = math.ceil(round(min(share, 1.0) * len(ordered_N), 6))
    return float(ordered_N[max(rank, 1) - 1])


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
