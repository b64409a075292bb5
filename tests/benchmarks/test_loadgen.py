"""`mlcycle bench` compared with MLPerf's LoadGen: the same numbers from the same latencies, and on the same model."""

from __future__ import annotations

import heapq
import importlib
import random
import re
import time

import pytest
from scripts import FOLDER
from tiny_model import write_tiny_model

from mlcycle.benching.scenarios import result

pytest.importorskip("mlperf_loadgen")
assert FOLDER.is_dir()  # and it is where modules are looked for
loadgen = importlib.import_module("loadgen")


def work_for_a_while(number: int) -> None:
    time.sleep(random.Random(number).random() * 0.0004)


@pytest.mark.parametrize("requests", [1, 10, 63, 64, 200, 700])
def test_the_p90_and_its_bound_are_those_of_loadgen(requests):
    theirs = loadgen.loadgen("single-stream", work_for_a_while, requests)
    assert len(theirs.latencies_ms) == requests
    ours = result("single-stream", theirs.latencies_ms, 0, 1)
    assert ours["value"] == pytest.approx(theirs.percentile_ms, abs=0.001)
    assert (ours["upper_bound_ms"] is None) == (theirs.upper_bound_ms is None) == (requests < 64)
    assert ours["upper_bound_ms"] == pytest.approx(theirs.upper_bound_ms, abs=0.001)


@pytest.mark.parametrize("requests", [458, 459, 700])
@pytest.mark.parametrize("limit_ms", [0.2, 10_000])
def test_a_limit_is_kept_where_loadgen_says_so(requests, limit_ms):
    theirs = loadgen.loadgen("server", work_for_a_while, requests, rate=5000, limit_ms=limit_ms, workers=2)
    ours = result("server", theirs.latencies_ms, 0, 1, limit_ms)
    assert ours["value"] == pytest.approx(theirs.percentile_ms, abs=0.001)
    assert ours["passed"] == theirs.passed == (limit_ms > 1 and requests >= 459)


def ideal_latencies_ms(due_seconds, work_seconds, workers):
    """Returns the latencies of a queue with constant work and nothing else on the machine."""
    free, latencies = [0.0] * workers, []
    for due in due_seconds:
        end = max(heapq.heappop(free), due) + work_seconds
        heapq.heappush(free, end)
        latencies.append((end - due) * 1000)
    return latencies


@pytest.mark.slow
def test_both_tools_are_run_in_turn(tmp_path, astronaut, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    words = ("--data", str(astronaut.parent), "--seconds", "0.3", "--rate", "20", "--rounds", "1")
    loadgen.main([str(model), *words])
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("median")]) == 7


@pytest.mark.slow
def test_both_tools_count_the_queue_of_the_same_arrivals():
    def work(number: int) -> None:
        time.sleep(0.03)

    theirs = loadgen.loadgen("server", work, 700, rate=50, workers=2, seed=1)
    ideal = result("server", ideal_latencies_ms(theirs.due_seconds, 0.03, 2), 0, 1)["value"]
    assert ideal > 90  # of work that takes 30 ms
    for measured in (theirs.percentile_ms, loadgen.replay(theirs, work, 2)):
        # Other programs of the machine make it slower.
        assert ideal * 0.99 < measured < ideal * 1.5


@pytest.mark.slow
def test_both_tools_measure_the_same_on_the_same_model(capsys):
    loadgen.main(["face-nano", "--seconds", "12", "--rate", "5", "--rounds", "3"])
    lines = capsys.readouterr().out.splitlines()
    medians = {
        name.strip(): float(value)
        for name, value in re.findall(r"^median   (.*?) +([\d.]+) ms", "\n".join(lines), re.M)
    }
    for metric, ours in (("single-stream p90", "mlcycle"), ("server p99", "mlcycle, the same arrivals")):
        theirs = medians[f"{metric}, LoadGen"]
        assert theirs / 2 < medians[f"{metric}, {ours}"] < theirs * 2
