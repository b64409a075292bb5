"""Options → a plan: defaults, and what does not fit together."""

from __future__ import annotations

import pytest

from mlcycle.benching.options import Options, milliseconds
from mlcycle.errors import UsageError


def test_without_a_scenario_one_image_is_processed_at_a_time():
    plan = Options(threads=3).plan(cores=4)
    assert (plan.scenario, plan.load.concurrency, plan.load.rate, plan.threads) == (None, 1, None, 3)
    assert Options(rate=5).plan(4).load.arrivals == "uniform"
    assert Options(concurrency=3).plan(4).threads is None


@pytest.mark.parametrize(
    ("options", "in_process", "connections"),
    [
        ({"scenario": "single-stream"}, 1, 1),
        ({"scenario": "multi-stream"}, 4, 8),
        ({"scenario": "multi-stream", "samples": 2}, 2, 2),
        ({"scenario": "server", "rate": 5}, 4, 64),
        ({"scenario": "offline"}, 4, 64),
        ({"scenario": "offline", "concurrency": 7}, 7, 7),
        ({"find_rate": True, "limit_ms": 100}, 4, 64),
        ({"rate": 5}, 1, 64),
        ({}, 1, 1),
    ],
)
def test_a_scenario_fills_the_cores_or_has_many_connections(options, in_process, connections):
    assert Options(**options).plan(cores=4).load.concurrency == in_process
    assert Options(**options, of_server=True).plan(cores=4).load.concurrency == connections


def test_images_that_a_scenario_processes_at_once_have_one_thread_each():
    assert Options(scenario="offline").plan(cores=4).threads == 1
    assert Options(scenario="offline").plan(cores=1).threads is None
    assert Options(scenario="offline", threads=2).plan(cores=4).threads == 2
    assert Options(scenario="single-stream").plan(cores=4).threads is None
    assert Options(scenario="offline", of_server=True).plan(cores=4).threads is None


def test_the_server_scenario_has_poisson_arrivals():
    load = Options(scenario="server", rate=5, seed=3).plan(1).load
    assert (load.arrivals, load.seed, load.rate) == ("poisson", 3, 5)
    plan = Options(find_rate=True, limit_ms=100).plan(1)
    assert (plan.scenario, plan.load.arrivals, plan.load.rate, plan.limit_ms) == ("server", "poisson", None, 100)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scenario": "server"}, "the server scenario needs a rate"),
        ({"scenario": "offline", "rate": 5}, "the scenario offline takes no rate"),
        ({"scenario": "single-stream", "rate": 5}, "the scenario single-stream takes no rate"),
        ({"scenario": "single-stream", "concurrency": 2}, "one image at a time"),
        ({"scenario": "server", "rate": 5, "arrivals": "uniform"}, "has Poisson arrivals"),
        ({"arrivals": "poisson"}, "arrivals need a rate"),
        ({"rate": 5, "seed": 1}, "a seed needs Poisson arrivals"),
        ({"samples": 4}, "only multi-stream"),
        ({"limit_ms": 100, "rate": 5, "arrivals": "poisson"}, "needs the server scenario"),
        ({"find_rate": True}, "needs a limit"),
        ({"find_rate": True, "limit_ms": 100, "rate": 5}, "finds the rate itself"),
        ({"find_rate": True, "limit_ms": 100, "scenario": "offline"}, "has no rate to find"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        Options(**options).plan(2)


def test_a_duration_needs_a_unit():
    assert [milliseconds(text) for text in ("100ms", "0.5s", "2.5 ms", "1s")] == [100, 500, 2.5, 1000]
    for text in ("100", "", "0ms", "-1ms", "1m", "nanms", "1e3ms"):
        with pytest.raises(UsageError, match="not a duration"):
            milliseconds(text)
