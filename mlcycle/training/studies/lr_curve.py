"""What a learning-rate range test says: losses by rate → where they fall, where they rise again, and a rate to take.

L. N. Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3: let the rate rise over a
short training, and take one from where it learns, before it becomes ragged. That the steepest fall of the loss is taken
is what libraries have made of it; Smith reads accuracies by eye.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The loss is judged by a mean of neighbours: of how many of N steps, as the width of a bell (standard deviation).
WIDTH = 1 / 30
# While the test runs, by a moving mean of the past, held against the mean of the first few.
MEMORY, FIRST = 0.9, 10
# A loss that falls less than by this share, or by as many times the noise that is left in the means, has not fallen.
GAIN, CERTAIN = 0.05, 4.0
# A loss has diverged that has given back this share of its fall, or is as many times the lowest.
GIVEN_BACK, TIMES = 0.75, 4.0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rate to take, and what it was read from.

    Attributes:
        rate: where the smoothed loss falls most steeply over the logarithm of the rate.
        lowest: the rate where the smoothed loss is lowest; above it, training is at risk.
        is_at_the_end: whether the loss still fell at the highest rate that was tried.
    """

    rate: float
    lowest: float
    is_at_the_end: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a test.

    Attributes:
        rates, losses: of the steps that were made.
        smoothed_N: the losses, as they are judged.
        suggestion: None where the loss did not fall.
        has_diverged: whether the test was ended by that.
        device: in words.
    """

    rates: list[float]
    losses: list[float]
    smoothed_N: np.ndarray
    suggestion: Suggestion | None
    has_diverged: bool
    device: str


def rates(low: float, high: float, steps: int) -> list[float]:
    """Returns rates that rise from one to the other by the same factor at each step."""
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


def has_diverged(losses: Sequence[float]) -> bool:
    """Tells whether a loss that has fallen is nearly back where it was at the beginning, or far above its lowest.

    Args:
        losses: of the steps so far.
    """
    if not all(map(math.isfinite, losses)):
        return True
    if len(losses) <= FIRST:
        return False
    past_N = _moving_means(losses)[FIRST:]
    first, best, now = np.mean(losses[:FIRST]), past_N.min(), past_N[-1]
    noise = _noise(losses) / math.sqrt(FIRST)
    has_fallen = first - best > max(GAIN * first, CERTAIN * noise)
    return bool((has_fallen and now > best + GIVEN_BACK * (first - best)) or now > TIMES * max(best, noise))


def smooth(losses: Sequence[float], steps: int) -> np.ndarray:
    """Returns losses_N as means of their neighbours; a bell decides how much each of these counts.

    Args:
        steps: how many the whole test has, of which the bell's width is a share.
    """
    places = np.arange(len(losses))
    weights_NN = np.exp(-0.5 * ((places[:, None] - places[None]) / max(1.0, WIDTH * steps)) ** 2)
    return (weights_NN @ np.asarray(losses)) / weights_NN.sum(1)


def suggest(rates_N: Sequence[float], losses: Sequence[float], steps: int) -> Suggestion | None:
    """Returns what the curve says; None where the loss did not fall."""
    smoothed_N = smooth(losses, steps)
    lowest = int(smoothed_N.argmin())
    if lowest < 2:
        return None
    fall = smoothed_N[0] - smoothed_N[lowest]
    if fall < max(GAIN * smoothed_N[0], CERTAIN * _noise_left(losses[: lowest + 1], steps)):
        return None
    slopes = np.gradient(smoothed_N[: lowest + 1], np.log(rates_N[: lowest + 1]))
    return Suggestion(rates_N[int(slopes.argmin())], rates_N[lowest], lowest == len(smoothed_N) - 1)


def _noise_left(losses: Sequence[float], steps: int) -> float:
    """Returns the standard deviation that noise has in the smoothed losses."""
    return _noise(losses) / math.sqrt(2 * math.sqrt(math.pi) * max(1.0, WIDTH * steps))


def _noise(losses: Sequence[float]) -> float:
    """Returns the standard deviation of losses at one rate, by how much neighbours differ."""
    return float(np.median(np.abs(np.diff(losses))) / (0.6745 * math.sqrt(2)))  # of a normal distribution


def _moving_means(losses: Sequence[float]) -> np.ndarray:
    mean, means = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        means.append(mean / (1 - MEMORY**number))
    return np.asarray(means)
