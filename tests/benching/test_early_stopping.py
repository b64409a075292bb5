"""The bound of early stopping, from the definition: t of n requests may be slow if P(Binomial(n, 1 - p) <= t) < 1 %."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from scipy.stats import binom

from mlcycle.benching.early_stopping import allowed_over, needed, upper_bound


def chance(count: int, over: int, percent: int) -> Fraction:
    """Returns P(Binomial(count, 1 - percent / 100) <= over), exactly."""
    slow = Fraction(100 - percent, 100)
    return sum(
        (comb(count, number) * slow**number * (1 - slow) ** (count - number) for number in range(over + 1)), Fraction()
    )


@pytest.mark.parametrize("percent", [50, 90, 99])
@pytest.mark.parametrize("count", [1, 2, 44, 63, 64, 65, 100, 459, 661, 662, 700])
def test_as_many_may_be_slow_as_the_definition_says(count, percent):
    over = allowed_over(count, percent / 100)
    assert over == -1 or chance(count, over, percent) < Fraction(1, 100)
    assert chance(count, over + 1, percent) >= Fraction(1, 100)


@pytest.mark.parametrize("count", [10_000, 270_336, 5_000_000])
def test_many_requests_are_counted_as_exactly(count):
    over = allowed_over(count, 0.99)
    assert binom.cdf(over, count, 0.01) < 0.01 <= binom.cdf(over + 1, count, 0.01)


def test_the_numbers_of_requests_that_mlperf_publishes():
    # The rules of MLPerf Inference require 64 queries in single-stream, and 662 in multi-stream.
    assert needed(1, 0.90) == 64
    assert needed(1, 0.99) == 662
    assert needed(0, 0.99) == 459  # the first power of .99 below .01


@pytest.mark.parametrize("over", [0, 1, 2, 10, 500, 20_000])
def test_the_needed_number_is_the_least(over):
    assert allowed_over(needed(over, 0.99), 0.99) >= over > allowed_over(needed(over, 0.99) - 1, 0.99)


def test_the_bound_is_the_latency_that_the_allowed_number_reach():
    ordered = [float(value) for value in range(1, 1001)]
    over = allowed_over(1000, 0.9)
    assert chance(1000, over, 90) < Fraction(1, 100) <= chance(1000, over + 1, 90)
    assert sum(value >= upper_bound(ordered, 0.9) for value in ordered) == over
    assert upper_bound(ordered[:64], 0.9) == 64
    assert upper_bound(ordered[:63], 0.9) is None
    assert upper_bound([], 0.9) is None
