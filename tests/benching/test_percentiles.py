"""Percentiles and histograms of known numbers, and the cost of a million images."""

from __future__ import annotations

import itertools
import random

import pytest

from mlcycle.benching.cost import per_million, price_per_hour
from mlcycle.benching.percentiles import BARS, LONGEST_SERIES, PIECES, histogram, percentiles, series
from mlcycle.errors import UsageError


def test_a_percentile_is_the_lowest_value_that_this_share_does_not_exceed():
    hundred = [float(value) for value in range(1, 101)]
    random.Random(0).shuffle(hundred)
    assert percentiles(hundred) == {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}
    assert percentiles([3.0, 1.0, 2.0]) == {"p50": 2, "p90": 3, "p95": 3, "p99": 3, "max": 3}
    assert percentiles([7.0]) == {"p50": 7, "p90": 7, "p95": 7, "p99": 7, "max": 7}
    assert percentiles([]) == dict.fromkeys(("p50", "p90", "p95", "p99", "max"))


def test_requests_that_never_started_are_slower_than_all_others():
    ninety = [float(value) for value in range(1, 91)]
    assert percentiles(ninety, without_result=10) == {"p50": 50, "p90": 90, "p95": None, "p99": None, "max": None}
    assert percentiles(ninety, without_result=1)["p99"] is None
    assert percentiles(ninety, without_result=1)["p95"] == 87


def test_a_series_keeps_its_order_and_if_it_is_long_pieces_from_the_first_to_the_last():
    assert series([3.0004, 1.0, 2.0]) == [3.0, 1.0, 2.0]
    whole = [float(value) for value in range(LONGEST_SERIES)]
    assert series(whole) == whole
    kept = series([float(value) for value in range(10 * LONGEST_SERIES)])
    assert len(kept) == LONGEST_SERIES
    assert (kept[0], kept[-1]) == (0, 10 * LONGEST_SERIES - 1)
    steps = [after - before for before, after in itertools.pairwise(kept)]
    assert sum(step != 1 for step in steps) == PIECES - 1


def test_a_histogram_counts_all_and_has_a_last_bin_for_the_slowest():
    steps = histogram([float(value) for value in range(200)] + [5000.0])
    assert len(steps) == BARS + 1
    assert sum(step["count"] for step in steps) == 201
    assert (steps[0]["from_ms"], steps[-1]["to_ms"]) == (0, 5000)
    assert steps[-1]["count"] == 2 + 1  # p99 is 198: 198 itself, 199 and 5000
    assert [step["from_ms"] for step in steps[1:]] == [step["to_ms"] for step in steps[:-1]]


def test_a_histogram_of_equal_values_and_of_none():
    assert sum(step["count"] for step in histogram([4.0] * 9)) == 9
    assert histogram([]) == []


def test_a_price_and_a_throughput_give_the_cost_of_per_million():
    assert price_per_hour("0.9/h") == 0.9
    assert price_per_hour("12/h") == 12
    assert per_million(0.9, 50)["per_million_images"] == 5  # a million take 20,000 s
    assert per_million(3.6, 1000)["per_million_images"] == 1


@pytest.mark.parametrize(
    "text", ["", "0.9", "0/h", "-1/h", "0.9/day", "nan/h", "1e3/h", "0,9/h", "9/h/h", " 1/h", "١/h"]
)
def test_an_invalid_price_is_refused(text):
    with pytest.raises(UsageError, match="not a price"):
        price_per_hour(text)
