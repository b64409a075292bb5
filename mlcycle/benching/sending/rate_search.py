"""Finds the highest rate of Poisson arrivals that keeps a latency limit, by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlcycle.benching.sending.request_stats import RequestStats

# The search starts with an interval from 0 to this multiple of the throughput in a closed loop, and halves it STEPS
# times, to 2 % of that throughput.
CEILING = 1.25
STEPS = 6
# If none of so many rates passes, which is down to 8 % of the throughput, the limit is not a matter of the rate.
STEPS_WITHOUT_ANY = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """The run at one rate.

    Attributes:
        rate: requests per second.
        passed: whether it kept the limit.
        stats: of its requests; those of a trial that failed can end early.
    """

    rate: float
    passed: bool
    stats: RequestStats


def search(attempt: Callable[[float], Trial], throughput: float) -> list[Trial]:
    """Returns the trials, in order; the highest rate that passed is what was searched for. None may have passed.

    Args:
        attempt: sends requests at a rate.
        throughput: images per second in a closed loop.
    """
    low, high, trials = 0.0, CEILING * throughput, []
    for step in range(STEPS):
        if step == STEPS_WITHOUT_ANY and not low:
            break
        rate = (low + high) / 2
        trials.append(attempt(rate))
        low, high = (rate, high) if trials[-1].passed else (low, rate)
    return trials
