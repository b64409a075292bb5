"""Reads the curve of the learning-rate finder: losses by rate → whether they diverge, and a rate to train with.

L. N. Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3: raise the rate during a short
training and choose one from where the accuracy rises, before it becomes ragged. Smith reads the curve by eye; choosing
the steepest fall of the loss is the practice of libraries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The loss is smoothed by a Gaussian kernel; its standard deviation is this share of all steps.
WIDTH = 1 / 30
# While the test runs, a moving mean of the past losses is compared with the mean of the first few.
MEMORY, FIRST = 0.9, 10
# A loss has fallen if it falls by this share and by this many standard deviations of the smoothed noise.
GAIN, CERTAIN = 0.05, 4.0
# A loss has diverged if it regains this share of its fall, or reaches this multiple of the lowest loss.
REGAINED, MULTIPLE = 0.75, 4.0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A suggested learning rate.

    Attributes:
        rate: where the smoothed loss falls most steeply over the logarithm of the rate.
        lowest: the rate where the smoothed loss is lowest; above it, training may diverge.
        is_at_end: whether the loss still fell at the highest rate.
    """

    rate: float
    lowest: float
    is_at_end: bool


@dataclass(frozen=True, slots=True)
class LrCurve:
    """The result of the learning-rate finder.

    Attributes:
        rates, losses: of each step.
        smoothed_N: the smoothed losses.
        suggestion: None if the loss did not fall.
        has_diverged: whether the loss diverged, which ends the test.
        device: its description.
    """

    rates: list[float]
    losses: list[float]
    smoothed_N: np.ndarray
    suggestion: Suggestion | None
    has_diverged: bool
    device: str


def rates(low: float, high: float, steps: int) -> list[float]:
    """Returns rates from `low` to `high`, each larger than the one before by the same factor."""
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


def has_diverged(losses: Sequence[float]) -> bool:
    """Returns whether a loss that has fallen is nearly back at its first value, or far above its lowest.

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
    return bool((has_fallen and now > best + REGAINED * (first - best)) or now > MULTIPLE * max(best, noise))


def smooth(losses: Sequence[float], steps: int) -> np.ndarray:
    """Returns the losses smoothed by a Gaussian kernel: float64, [N].

    Args:
        steps: of the whole test; the width of the kernel is a share of them.
    """
    places = np.arange(len(losses))
    weights_NN = np.exp(-0.5 * ((places[:, None] - places[None]) / max(1.0, WIDTH * steps)) ** 2)
    return (weights_NN @ np.asarray(losses)) / weights_NN.sum(1)


def suggest(rates_N: Sequence[float], losses: Sequence[float], steps: int) -> Suggestion | None:
    """Returns the rate of the steepest fall; None if the loss did not fall."""
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
    """Returns the standard deviation of the noise in the smoothed losses."""
    return _noise(losses) / math.sqrt(2 * math.sqrt(math.pi) * max(1.0, WIDTH * steps))


def _noise(losses: Sequence[float]) -> float:
    """Returns the standard deviation of losses at one rate, estimated from differences of neighbours."""
    return float(np.median(np.abs(np.diff(losses))) / (0.6745 * math.sqrt(2)))  # of a normal distribution


def _moving_means(losses: Sequence[float]) -> np.ndarray:
    mean, means = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        means.append(mean / (1 - MEMORY**number))
    return np.asarray(means)
