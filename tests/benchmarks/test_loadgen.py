"""`mlcycle bench` compared with MLPerf's LoadGen: the same numbers from the same latencies, and on the same model."""

from __future__ import annotations

import importlib
import random
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


def test_both_tools_are_run_in_turn(tmp_path, astronaut, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    words = ("--data", str(astronaut.parent), "--seconds", "0.3", "--rate", "20", "--rounds", "2")
    loadgen.main([str(model), *words])
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "median of 2 rounds" in line]) == 4


@pytest.mark.slow
def test_both_tools_measure_the_same_on_the_same_model(capsys):
    loadgen.main(["face-nano", "--seconds", "20", "--rate", "15", "--rounds", "3"])
    lines = capsys.readouterr().out.splitlines()
    medians = [float(line.partition("rounds ")[2].split()[0]) for line in lines if "median of" in line]
    for theirs, ours in zip(medians[::2], medians[1::2], strict=True):
        # Other programs of the machine make either slower for a while.
        assert theirs / 2 < ours < theirs * 2
