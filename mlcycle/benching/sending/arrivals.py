"""When the requests of an open loop are due."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence

UNIFORM, POISSON = "uniform", "poisson"


def due_times(arrivals: str, rate: float, seconds: float, seed: int = 0) -> Sequence[float]:
    """Returns the seconds after the start at which requests are due, from 0 to below `seconds`, in order.

    Args:
        arrivals: "uniform" spaces them evenly. "poisson" takes random times, as if many users came independently: a
            Poisson process, given its number of arrivals, which is that of "uniform".
        rate: requests per second.
        seed: of the random times; the same seed gives the same times.
    """
    count = max(1, math.ceil(round(seconds * rate, 6)))
    if arrivals == POISSON:
        generator = random.Random(seed)
        return array("d", sorted(generator.random() * seconds for _ in range(count)))
    return array("d", (number / rate for number in range(count)))
