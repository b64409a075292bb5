"""`model.bench`: the document that the command prints."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlcycle


def test_the_document_is_that_of_the_command(astronaut: Path) -> None:
    model = mlcycle.load("face-nano", threads=1)
    document = model.bench(astronaut.parent, seconds=0.3, warmup=0.0, concurrency=2)
    assert document["model"] == {"name": "face-nano", "sha256": model.sha256}
    assert document["settings"]["threads"] == 1
    assert document["requests"]["completed"] > 0
    assert document["cold_start"] is None
    assert document["latency_ms"]["p50"] <= document["latency_ms"]["p99"]


def test_a_scenario_gives_each_image_a_thread_and_the_result_its_confidence(astronaut: Path) -> None:
    model = mlcycle.load("face-nano")
    options = {"scenario": "server", "rate": 20, "seed": 1, "p99_ms": 60_000, "concurrency": 2}
    document = model.bench(astronaut.parent, seconds=0.2, warmup=0.0, **options)
    assert document["settings"] | {"threads": 1, "arrivals": "poisson", "seed": 1} == document["settings"]
    assert (document["result"]["requests"], document["result"]["passed"]) == (4, False)  # too few for confidence
    with pytest.raises(mlcycle.UsageError, match="needs a rate"):
        model.bench(astronaut.parent, scenario="server")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mlcycle.InputError):
        mlcycle.load("face-nano").bench(tmp_path, seconds=0.1)
