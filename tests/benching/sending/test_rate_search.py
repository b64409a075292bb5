"""The search for the highest rate that keeps a limit."""

from __future__ import annotations

import pytest

from mlcycle.benching.sending.rate_search import STEPS, Trial, search
from mlcycle.benching.sending.request_stats import RequestStats


def found(highest: float) -> tuple[float, int]:
    """Searches where all rates up to `highest` pass, with a throughput of 100; returns the best and the trials."""
    trials = search(lambda rate: Trial(rate, rate <= highest, RequestStats()), throughput=100)
    return max((trial.rate for trial in trials if trial.passed), default=0.0), len(trials)


@pytest.mark.parametrize("highest", [8.0, 33.3, 50.0, 71.0, 99.0, 120.0])
def test_the_best_rate_is_at_most_two_percent_of_the_throughput_too_low(highest):
    best, trials = found(highest)
    assert highest - 2 <= best <= highest
    assert trials == STEPS


def test_a_search_without_any_success_is_short():
    assert found(0) == (0, 4)
    assert found(7) == (0, 4)
