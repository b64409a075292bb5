"""Searches the least number of replicas that keep the p99."""

from __future__ import annotations

import math
from collections.abc import Callable

from mlcycle.planning.estimate import Estimate

# Nearer to its capacity a machine is not planned: service times that are a few percent longer would overload it.
MOST_UTILISATION = 0.95
# More machines than anybody rents.
MOST = 1_000_000


def least(predict: Callable[[int], Estimate], offered: float, p99: float) -> Estimate | None:
    """Returns the estimate of the least replicas that keep the p99, or None if no number does.

    No replica is busier than MOST_UTILISATION.

    Args:
        predict: number of replicas → estimate.
        offered: replicas that the load would keep busy all the time.
        p99: milliseconds.
    """
    fewer, step = math.ceil(offered / MOST_UTILISATION) - 1, 1
    while not (found := predict(fewer + step)).keeps(p99):
        fewer, step = fewer + step, 2 * step
        if fewer + step > MOST:
            return None
    while found.replicas - fewer > 1:
        tried = predict((fewer + found.replicas) // 2)
        if tried.keeps(p99):
            found = tried
        else:
            fewer = tried.replicas
    return found
