"""What the user asks for: a load, a p99, prices, and how requests arrive and are balanced."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.benching.cost import price_per_hour
from mlcycle.errors import InputError, UsageError

RANDOM, ROUND_ROBIN, LEAST_REQUESTS = "random", "round-robin", "least-requests"
BALANCINGS = (RANDOM, ROUND_ROBIN, LEAST_REQUESTS)
POISSON, RECORDED = "poisson", "recorded"
# With fewer arrivals, less than ten requests are above the p99.
LEAST_ARRIVALS = 1000
_PER_SECOND = {"s": 1.0, "min": 1 / 60, "h": 1 / 3600}
_MILLISECONDS = {"ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, slots=True)
class Requirements:
    """What the machines must do.

    Attributes:
        rate: requests per second.
        p99: milliseconds within which 99 % of the requests must be answered.
        balancing: RANDOM, ROUND_ROBIN or LEAST_REQUESTS.
        queue: requests that can wait at one replica; the next one is rejected.
        seed: of all random numbers.
        recorded_N: recorded arrival times in milliseconds, in order, the first at 0; None for Poisson arrivals.
    """

    rate: float
    p99: float
    balancing: str = RANDOM
    queue: int = 64
    seed: int = 0
    recorded_N: np.ndarray | None = None

    @property
    def arrivals(self) -> str:
        """Returns POISSON or RECORDED."""
        return POISSON if self.recorded_N is None else RECORDED


def rate_per_second(text: str) -> float:
    """Parses a rate such as 300/s, 18000/min or 2e6/h.

    Raises:
        UsageError: the text is not a rate.
    """
    number, unit = _parsed(text, r"/(s|min|h)", "rate", "--rate 300/s")
    return number * _PER_SECOND[unit]


def milliseconds(text: str) -> float:
    """Parses a duration such as 100ms or 0.1s.

    Raises:
        UsageError: the text is not a duration.
    """
    number, unit = _parsed(text, r"(ms|s)", "duration", "--p99 100ms")
    return number * _MILLISECONDS[unit]


def prices(texts: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Parses prices per hour: 0.09/h for every kind of machine, or NAME=0.09/h for one.

    Raises:
        UsageError: a text is not a price, or not of one of these kinds.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, equals, price = text.rpartition("=")
        if equals and name not in names:
            raise UsageError(f"--price {text} is of no kind of machine", f"the kinds are: {', '.join(names)}")
        found |= dict.fromkeys(
            [name] if equals else [each for each in names if each not in found], price_per_hour(price)
        )
    return found


def recorded_arrivals(path: Path) -> np.ndarray:
    """Reads arrival times: seconds, one per line, from any start and in any order. Empty lines and # lines are skipped.

    Returns:
        times_N: milliseconds since the first, in order.

    Raises:
        InputError: the file cannot be read, has other lines, or fewer than LEAST_ARRIVALS times.
    """
    hint = "pass a file with the time of one arrival per line, in seconds"
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
        times_N = np.sort(np.array(lines, np.float64)) * 1000
    except OSError as problem:
        raise InputError(f"the arrivals {path} cannot be read: {problem.strerror}", hint) from None
    except ValueError:
        raise InputError(f"the arrivals {path} are not numbers", hint) from None
    if len(times_N) < LEAST_ARRIVALS:
        raise InputError(f"{path} has {len(times_N):,} arrivals, too few for a p99", f"record {LEAST_ARRIVALS:,}")
    if not np.isfinite(times_N).all() or times_N[0] == times_N[-1]:
        raise InputError(f"the arrivals {path} are not spread over a finite time", hint)
    return times_N - times_N[0]


def mean_rate(recorded_N: np.ndarray) -> float:
    """Returns the mean requests per second of recorded arrivals."""
    return float((len(recorded_N) - 1) / (recorded_N[-1] - recorded_N[0]) * 1000)


def _parsed(text: str, unit: str, noun: str, example: str) -> tuple[float, str]:
    found = re.fullmatch(rf"([0-9]{{1,12}}(?:\.[0-9]{{1,9}})?(?:e[0-9]{{1,2}})?) ?{unit}", text)
    if found is None or not 0 < float(found[1]) < math.inf:
        raise UsageError(f"{text!r} is not a {noun}", f"pass one such as {example}")
    return float(found[1]), found[2]
