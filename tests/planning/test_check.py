"""`mlcycle plan --check` against a real server of `mlcycle serve`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bench_documents import write
from live_server import LiveServer, serving

REQUIREMENTS = ("--rate", "20/s", "--p99", "30s")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    from tiny_model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def images(tmp_path_factory, astronaut) -> Path:
    folder = tmp_path_factory.mktemp("images")
    shutil.copy(astronaut, folder / "one.jpg")
    return folder


@pytest.fixture(scope="module")
def server(tiny):
    with serving(str(tiny), "--workers", "2", "--queue", "50") as live:
        yield live


@pytest.fixture(autouse=True)
def short_simulations(monkeypatch):
    from mlcycle.planning import check, fleet

    monkeypatch.setattr(fleet, "COLUMNS", 100)
    monkeypatch.setattr(fleet, "STEPS", 100)
    monkeypatch.setattr(fleet, "LONGEST_WARMUP", 100)
    monkeypatch.setattr(fleet, "COUPLED_REQUESTS", 1000)
    monkeypatch.setattr(check, "WARMUP_SECONDS", 0.1)


@pytest.fixture
def measured(mlcycle, server: LiveServer, images, tmp_path) -> Path:
    file = tmp_path / "bench.json"
    load = ("--concurrency", "4", "--duration", "0.5", "--warmup", "0")
    outcome = mlcycle("bench", "--url", server.url, "--data", images, *load, "--out", file, "-q")
    assert outcome.code == 0, outcome.err
    return file


@pytest.mark.slow
def test_what_was_predicted_stands_beside_what_is_measured(mlcycle, server, measured, images, tmp_path):
    page = tmp_path / "plan.html"
    load = ("--check", server.url, "--check-duration", "1", "--data", images)
    outcome = mlcycle("plan", measured, *REQUIREMENTS, *load, "--json", "--page", page)
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    check, machine = document["check"], document["machines"][0]
    assert (machine["workers"], machine["threads"]) == (2, 1)  # as the server says
    assert check["rate"] == 20
    assert check["utilisation"] == pytest.approx(20 / machine["capacity"], abs=1e-3)
    for each in (check["predicted"], check["measured"]):
        assert 0 < each["service_mean_ms"] <= each["p99_ms"]
        assert each["p50_ms"] <= each["p99_ms"]
    low, high = check["predicted"]["p99_interval_ms"]
    assert low <= check["predicted"]["p99_ms"] <= high
    expected = (check["predicted"]["p50_ms"] / check["measured"]["p50_ms"] - 1) * 100
    assert check["difference_percent"]["p50"] == pytest.approx(expected, abs=0.01)
    assert "Against a real server" in page.read_text()
    assert server.url not in outcome.out + page.read_text()


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("machine", "cpu", "Difference Engine", "its processor is "),
        ("machine", "cores", 500, "its number of cores is "),
        ("settings", "threads", 3, "its number of threads is 1, not 3"),
        ("settings", "workers", 3, "its number of workers is 2, not 3"),
        ("model", "sha256", "bb" * 32, "its model is "),
        ("data", "fingerprint", "other", "the images are not those of the measurement"),
    ],
)
def test_another_server_than_the_measured_one_is_refused(
    mlcycle, server, measured, images, section, key, value, message
):
    document = json.loads(measured.read_text())
    document[section][key] = value
    write(measured, document)
    outcome = mlcycle("plan", measured, *REQUIREMENTS, "--check", server.url, "--data", images)
    assert (outcome.code, outcome.out) == (3, "")
    assert message in outcome.err


def test_a_server_that_is_not_there_is_refused(mlcycle, measured, images):
    outcome = mlcycle("plan", measured, *REQUIREMENTS, "--check", "http://127.0.0.1:9", "--data", images)
    assert outcome.code == 6


def test_one_kind_is_checked(mlcycle, server, measured):
    outcome = mlcycle("plan", f"a={measured}", f"b={measured}", *REQUIREMENTS, "--check", server.url)
    assert outcome.code == 2
    assert "--check needs a single kind of machine" in outcome.err
