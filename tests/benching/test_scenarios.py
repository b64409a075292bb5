"""What each scenario reports, of known latencies."""

from __future__ import annotations

import pytest

from mlcycle.benching.scenarios import percentile, result

THOUSAND = [float(value) for value in range(1000, 0, -1)]


def test_single_stream_reports_the_p90_and_its_bound():
    reported = result("single-stream", THOUSAND, 0, 10)
    assert (reported["metric"], reported["value"], reported["confidence"]) == ("p90_ms", 901, 0.99)
    assert 901 < reported["upper_bound_ms"] < 930
    assert (reported["requests"], reported["requests_needed"], reported["passed"]) == (1000, 64, None)


def test_the_percentile_is_the_lowest_that_more_than_its_share_kept():
    assert percentile(sorted(THOUSAND), 0.99) == 991
    assert percentile(sorted(THOUSAND)[:999], 0.99) == 990
    assert percentile([4.0], 0.99) == 4
    assert percentile([], 0.99) is None


@pytest.mark.parametrize(
    ("latencies", "lost", "passed"),
    [
        ([10.0] * 459, 0, True),
        ([10.0] * 458, 0, False),  # too few for confidence
        ([10.0] * 458 + [101.0], 0, False),
        ([10.0] * 661 + [101.0], 0, True),
        ([10.0] * 661, 1, True),
        ([10.0] * 660 + [101.0], 1, False),
        ([10.0] * 661 + [100.0] * 39, 0, True),  # the limit itself is kept
    ],
)
def test_the_server_scenario_passes_if_few_enough_are_slow(latencies, lost, passed):
    reported = result("server", latencies, lost, 10, limit_ms=100)
    assert reported["passed"] is passed
    assert reported["over_limit"] == sum(value > 100 for value in latencies) + lost


def test_requests_without_a_result_are_slower_than_all_others():
    reported = result("server", [10.0] * 980, 20, 10, limit_ms=100)
    assert (reported["value"], reported["upper_bound_ms"], reported["over_limit"]) == (None, None, 20)


def test_offline_reports_the_throughput_and_no_scenario_nothing():
    reported = result("offline", THOUSAND, 0, 12.34567)
    assert (reported["metric"], reported["value"], reported["upper_bound_ms"]) == ("images_per_second", 12.3457, None)
    assert result(None, THOUSAND, 0, 10) is None
    assert set(reported) == set(result("server", THOUSAND, 0, 10, limit_ms=1))
