"""`mlcycle serve --engine ray` without Ray: refused options, pinned model files, and the metrics of all replicas."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, environment
from prometheus_client.parser import text_string_to_metric_families

from mlcycle.artifact.bundled import FOLDER
from mlcycle.distribution import install_command
from mlcycle.errors import ModelFileError, UsageError
from mlcycle.ray_serving.board import Board, merged
from mlcycle.ray_serving.deployment import Deployment, PinnedModel, pinned
from mlcycle.serving.metrics import Metrics, text_of
from mlcycle.serving.served_model import ModelSource, ServedModel
from mlcycle.serving.settings import Listening, ServerSettings
from mlcycle.serving.work_queue import WorkQueue

Run = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "ray", "--private"), "does not support --private"),
        (("--engine", "ray", "--provider", "cuda"), "runs on CPUs"),
        (("--engine", "ray", "--address", "ray://there:10001"), "HOST:PORT"),
        (("--engine", "ray", "--address", "auto", "--port", "0"), "--port 8000"),
        (("--engine", "ray", "--replicas", "0:3"), "1:8"),
        (("--engine", "ray", "--replicas", "3:2"), "1:8"),
        (("--engine", "ray", "--replicas", "many"), "1:8"),
        (("--address", "auto"), "add --engine ray"),
        (("--replicas", "2"), "add --engine ray"),
    ],
)
def test_unsupported_options_are_refused(options: tuple[str, ...], words: str, mlcycle: Run) -> None:
    outcome = mlcycle("serve", *options)
    assert outcome.code == 2
    assert words in outcome.err


def test_without_the_extra_the_hint_installs_it(process: Run, tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])}
    outcome = process("serve", "--engine", "ray", "--port", "0", env=env)
    assert outcome.code == 2
    assert install_command("ray") in outcome.err


@pytest.fixture
def served(tmp_path: Path) -> ServedModel:
    file = tmp_path / "model.onnx"
    shutil.copy(FOLDER / "face-nano.onnx", file)
    return ServedModel.open(ModelSource(file, "faces", "cpu"))


def deployment_of(*models: PinnedModel, **changes: Any) -> Deployment:
    made = Deployment(models, ServerSettings(workers=2), Listening(), None)
    return pickle.loads(pickle.dumps(replace(made, **changes)))


def test_a_replica_opens_the_very_file_that_was_verified(served: ServedModel) -> None:
    deployment = deployment_of(*pinned([served]))
    assert deployment.open_models()["faces"].detector.sha256 == served.detector.sha256
    shutil.copy(FOLDER / "face-base.onnx", served.source.path)
    with pytest.raises(ModelFileError, match=f"was {served.detector.sha256[:12]} when the server started"):
        deployment.open_models()
    served.source.path.unlink()
    with pytest.raises(ModelFileError):
        deployment.open_models()


def test_another_version_of_mlcycle_is_refused(served: ServedModel) -> None:
    with pytest.raises(UsageError, match=r"0\.0\.1 here"):
        deployment_of(*pinned([served]), version="0.0.1").open_models()


def test_replicas_fill_the_cores_unless_chosen() -> None:
    assert deployment_of().replica_range(cores=9) == (1, 4)
    assert deployment_of().replica_range(cores=1) == (1, 1)
    assert deployment_of(replicas=(2, 3)).replica_range(cores=64) == (2, 3)


def test_the_metrics_of_replicas_are_told_apart(served: ServedModel) -> None:
    reports = {}
    for replica, number in (("one", 3), ("two", 5)):
        metrics = Metrics({"faces": served}, WorkQueue(1, 1), lambda: True)
        for _ in range(number):
            metrics.success("faces", 1, {"run": 7.0})
        reports[replica] = pickle.loads(pickle.dumps(metrics.families()))
    text = text_of(merged(reports)).decode()
    assert text.count("# TYPE nv_inference_request_success ") == 1
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    counts = {each.labels["replica"]: each.value for each in samples if each.name == "nv_inference_request_success"}
    runs = [each.value for each in samples if each.name == "mlcycle_stage_seconds_count"]
    assert counts == {"one": 3, "two": 5}
    assert sorted(runs) == [3, 5]


def test_the_board_forgets_dead_replicas_and_tells_all_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("mlcycle.ray_serving.board.time.monotonic", lambda: now)
    board = Board()
    assert not board.report("one", [])
    assert not board.report("two", [])
    assert set(board.others("one")) == {"two"}
    now += 6
    assert not board.report("one", [])
    assert not board.others("one")
    board.end()
    assert board.report("one", [])
