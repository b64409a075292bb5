"""A measurement compared with a baseline: what passes, what fails, and what is not comparable."""

from __future__ import annotations

import copy
import json

import pytest

from mlcycle.benching import baseline
from mlcycle.errors import GateError, InputError, UsageError


@pytest.fixture
def old():
    return {
        "schema_version": 3,
        "kind": "mlcycle bench",
        "model": {"sha256": "aa"},
        "machine": {"cpu": "Abacus", "cores": 2, "system": "Linux x86_64", "load_average": 0.1},
        "settings": {
            "provider": "cpu",
            "threads": None,
            "workers": 1,
            "concurrency": 1,
            "rate": None,
            "seconds": 10,
            "scenario": None,
            "arrivals": None,
            "seed": None,
            "samples_per_query": None,
            "target": "process",
        },
        "data": {"kind": "synthetic", "images": 20, "fingerprint": "synthetic 1"},
        "latency_ms": {"p50": 20.0, "p95": 40.0},
        "requests": {"completed_per_second": 50.0},
    }


def gate(old, allowed: float, p50: float = 20, p95: float | None = 40, throughput: float = 50):
    now = copy.deepcopy(old)
    now["latency_ms"] = {"p50": p50, "p95": p95}
    now["requests"] = {"completed_per_second": throughput}
    comparison = baseline.compare(old, now, allowed)
    try:
        baseline.check(comparison)
    except GateError as problem:
        assert not comparison["passed"]
        return problem.message
    assert comparison["passed"]
    return ""


def test_the_allowed_regression_passes_and_more_fails(old):
    assert gate(old, 10) == ""
    assert gate(old, 0) == ""
    assert gate(old, 10, p50=22, p95=44, throughput=45) == ""
    assert gate(old, 10, p50=1, p95=2, throughput=500) == ""
    assert gate(old, 10, p50=22.1) == (
        "slower than the baseline by more than 10 %: the p50 of the latency was 20 ms, now 22.1 (+10.5 %)"
    )
    assert "the p95 of the latency was 40 ms, now 50 (+25.0 %)" in gate(old, 10, p95=50)
    assert "the throughput was 50 per second, now 44 (-12.0 %)" in gate(old, 10, throughput=44)
    assert gate(old, 15, throughput=44) == ""


def test_every_worse_metric_is_named(old):
    message = gate(old, 5, p50=30, p95=60, throughput=20)
    assert all(metric in message for metric in ("p50", "p95", "throughput"))


def test_a_missing_percentile_fails(old):
    assert "p95 of the latency was 40 ms; now too many requests were never started" in gate(old, 10, p95=None)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("machine", "cpu", "Slide rule"),
        ("machine", "cores", 64),
        ("settings", "threads", 1),
        ("settings", "provider", "cuda"),
        ("settings", "rate", 5.0),
        ("settings", "scenario", "server"),
        ("settings", "target", "server"),
        ("settings", "seed", 1),
        ("data", "fingerprint", "0123"),
    ],
)
def test_a_measurement_under_other_conditions_is_refused(section, key, value, old, tmp_path):
    now = copy.deepcopy(old)
    now[section][key] = value
    with pytest.raises(InputError, match=f"is not comparable: its {section} {key} is .*, now {value}"):
        baseline.must_compare(old, now, tmp_path / "old.json")


def test_another_model_another_duration_and_another_load_are_comparable(old, tmp_path):
    now = copy.deepcopy(old)
    now["model"]["sha256"], now["settings"]["seconds"], now["machine"]["load_average"] = "bb", 60, 1.5
    baseline.must_compare(old, now, tmp_path / "old.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "mlcycle evaluate"}, "is not a measurement"),
        ({"schema_version": 1}, "has schema_version 1, not 2 or 3"),
        ({"latency_ms": {"p50": 1.0, "p95": None}}, "lacks a metric"),
        ({"latency_ms": {"p50": 1.0, "p95": "fast"}}, "lacks a metric"),
        ({"requests": [1]}, "lacks a metric"),
    ],
)
def test_an_invalid_baseline_is_refused(change, words, old, tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    assert baseline.read(path) == old
    path.write_text(json.dumps(old | change))
    with pytest.raises(InputError, match=words):
        baseline.read(path)


@pytest.mark.parametrize("rate", [None, 5.0])
def test_a_baseline_of_version_2_is_compared_with_its_equal_in_version_3(rate, old, tmp_path):
    now, path = copy.deepcopy(old), tmp_path / "old.json"
    now["settings"] |= {"rate": rate, "arrivals": rate and "uniform"}
    before = now | {"schema_version": 2, "settings": dict(now["settings"])}
    for added in ("scenario", "arrivals", "seed", "samples_per_query", "target", "workers"):
        del before["settings"][added]
    path.write_text(json.dumps(before))
    assert baseline.read(path) == now
    baseline.must_compare(baseline.read(path), now, path)
    now["settings"] |= {"arrivals": "poisson", "seed": 0}
    with pytest.raises(InputError, match="settings arrivals"):
        baseline.must_compare(baseline.read(path), now, path)


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    path = tmp_path / "old.json"
    path.write_text(content)
    with pytest.raises(InputError, match="is not"):
        baseline.read(path)
    with pytest.raises(InputError, match="cannot be read"):
        baseline.read(tmp_path / "none.json")


def test_a_percentage_needs_a_percent_sign():
    assert [baseline.allowance(text) for text in ("10%", "2.5 %", "0%")] == [10, 2.5, 0]
    for text in ("10", "", "%", "-1%", "nan%", "ten%", "0.1"):
        with pytest.raises(UsageError, match="not a percentage"):
            baseline.allowance(text)
