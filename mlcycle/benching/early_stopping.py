"""How sure a percentile is: the binomial bound of MLPerf's early stopping.

If a request exceeds a limit with probability 1 - p or more, then t or fewer of n requests do so with a probability of
at most P(Binomial(n, 1 - p) <= t). Where that is below 1 %, the percentile p is below the limit with 99 % confidence.
The rules of MLPerf Inference ("early stopping") and LoadGen's early_stopping.cc have the same definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.99


def allowed_over(count: int, share: float) -> int:
    """Returns how many of `count` requests may exceed a limit that `share` of all are said to keep.

    -1 means that there are too few requests, even if none of them exceeds it.
    """
    mean, deviation = count * (1 - share), math.sqrt(count * share * (1 - share))
    over = max(0, int(mean - 40 * deviation))  # the probability of fewer is less than a float can express
    probability = _binomial(count, over, 1 - share)
    while probability < 1 - CONFIDENCE and over < count:
        over += 1
        probability += _binomial(count, over, 1 - share)
    return over - 1


def needed(over: int, share: float) -> int:
    """Returns the least number of requests of which `over` may exceed a limit that `share` are said to keep."""
    low, high = over, 2 * over + 2
    while allowed_over(high, share) < over:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if allowed_over(middle, share) >= over else (middle, high)
    return high


def upper_bound(ordered: Sequence[float], share: float) -> float | None:
    """Returns the latency below which `share` of all requests are with CONFIDENCE; None if there are too few.

    `ordered` are the measured latencies, the lowest first.
    """
    over = allowed_over(len(ordered), share)
    return ordered[len(ordered) - over] if over >= 1 else None


def _binomial(count: int, number: int, probability: float) -> float:
    """Returns P(Binomial(count, probability) = number), through logarithms, because powers would underflow."""
    ways = math.lgamma(count + 1) - math.lgamma(number + 1) - math.lgamma(count - number + 1)
    return math.exp(ways + number * math.log(probability) + (count - number) * math.log1p(-probability))
