"""TensorBoard event files and MLflow runs, read back in their own formats."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")  # the train extra

from conftest import environment
from test_run_summary import score, stretch, write_run

from mlcycle import training
from mlcycle.distribution import install_command
from mlcycle.training.progress import event_files
from mlcycle.training.run import run_summary

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)

METRICS = [stretch(20, 20, 1, 0.1, 30), score(20, 0.5), stretch(40, 40, 1, 0.1, 30), score(40, 0.25)]


def records(folder: Path) -> list:
    """Returns the events of all files of a folder, in TensorBoard's format: length, checksum, event, checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    events = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            events.append(event_pb2.Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def scalars(events: list, tag: str) -> list[tuple[int, float]]:
    values = [(event.step, value) for event in events for value in event.summary.value]
    return [(step, value.simple_value) for step, value in values if value.tag == tag]


@pytest.mark.slow
def test_a_run_keeps_event_files_of_its_metrics(mlcycle, recipe_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = tmp_path / "run"
    assert mlcycle("-q", "train", recipe_path, "schedule.workers=0", "--out", run, "--tensorboard").code == 0
    events = records(run / "tensorboard")
    assert events[0].file_version == "brain.Event:2"
    summary = run_summary.read(run)
    assert scalars(events, "loss") == [(step, pytest.approx(value)) for step, value in summary.curve("loss")]
    assert [step for step, _ in scalars(events, "average_precision_50")] == [3, 6]
    # Without the host name that TensorBoard's own writer adds.
    assert all(path.name.endswith(".mlcycle") for path in (run / "tensorboard").iterdir())


def test_earlier_reports_come_first_and_a_resumed_run_purges_repeated_steps(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = write_run(tmp_path / "run", [])
    with event_files.event_file(run, METRICS[:2], True) as file:
        file.add(METRICS[2])
    with event_files.event_file(run, METRICS[:2], True) as file:
        file.add(METRICS[2])
    events = records(run / "tensorboard")
    assert scalars(events, "seconds") == [(20, 20), (40, 40), (40, 40)]
    assert [event.step for event in events if event.HasField("session_log")] == [21]


def test_a_resumed_run_continues_its_event_files_without_being_asked(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = write_run(tmp_path / "run", [])
    with event_files.event_file(run, [], True) as file:
        file.add(METRICS[0])
    with event_files.event_file(run, METRICS[:1], False) as file:
        file.add(METRICS[2])
    with event_files.event_file(None, METRICS[:1], True) as file:  # another process of the group
        assert file is None
    assert scalars(records(run / "tensorboard"), "seconds") == [(20, 20), (40, 40)]


def test_event_files_are_written_only_on_request(tmp_path: Path) -> None:
    with event_files.event_file(tmp_path, METRICS, False) as file:
        assert file is None
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboardx_the_run_is_not_started(mlcycle, monkeypatch, recipe_path: Path, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    done = mlcycle("train", recipe_path, "--out", tmp_path / "run", "--tensorboard")
    assert done.code == 2
    assert install_command("tensorboard") in done.err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracking URI that needs no server; MLflow requires a flag for its file store."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):  # set by the command, put back after
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    return (tmp_path / "store").as_uri()


@pytest.mark.slow
def test_a_run_is_logged_to_mlflow_once(mlcycle, tmp_path: Path, mlflow_store: str) -> None:
    run = write_run(tmp_path / "run", METRICS, device="cpu", data={"fingerprint": "aa", "train_faces": 3})
    first = mlcycle("train", "log-mlflow", run, "--to", mlflow_store)
    assert first.code == 0, first.err
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_store)
    found = client.get_run(first.out.strip())
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.info.end_time - found.info.start_time == 40_000
    assert found.data.params["schedule.steps"] == "40"
    assert found.data.tags["mlcycle.data.fingerprint"] == "aa"
    for name, values in (("images_per_second", [30.0, 30.0]), ("average_precision_50", [0.5, 0.25])):
        history = client.get_metric_history(found.info.run_id, name)
        assert [(each.step, each.value) for each in history] == list(zip((20, 40), values, strict=True))
        assert [each.timestamp - found.info.start_time for each in history] == [20_000, 40_000]
    again = mlcycle("train", "log-mlflow", run, "--to", mlflow_store)
    assert (again.code, found.info.run_id in again.err) == (3, True)
    replaced = mlcycle("train", "log-mlflow", run, "--to", mlflow_store, "--overwrite")
    assert replaced.code == 0
    experiment = client.get_experiment_by_name("mlcycle")
    assert [each.info.run_id for each in client.search_runs([experiment.experiment_id])] == [replaced.out.strip()]


def test_a_partly_logged_mlflow_run_is_deleted(mlcycle, tmp_path: Path, mlflow_store: str) -> None:
    run = write_run(tmp_path / "run", [METRICS[0] | {"a name: of a metric; that MLflow refuses?": 1.0}])
    refused = mlcycle("train", "log-mlflow", run, "--to", mlflow_store)
    assert (refused.code, "MLflow cannot log to" in refused.err) == (3, True)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_store)
    assert client.search_runs([client.get_experiment_by_name("mlcycle").experiment_id]) == []


def test_an_unknown_tracking_uri_is_an_error(
    mlcycle, tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # else MLflow tries for seconds to reach the server
    run = write_run(tmp_path / "run", METRICS)
    for uri in ("nonsense://x", "http://127.0.0.1:9"):
        refused = mlcycle("train", "log-mlflow", run, "--to", uri)
        assert (refused.code, f"MLflow cannot log to {uri}" in refused.err, "--to" in refused.err) == (3, True, True)


@pytest.mark.slow
def test_mlflow_telemetry_is_off(tmp_path: Path, mlflow_store: str) -> None:
    run = write_run(tmp_path / "run", METRICS)
    code = f"""if True:
        import socket
        def refuse(self, address):
            raise AssertionError(f"a connection to {{address}}")
        socket.socket.connect = socket.socket.connect_ex = refuse
        from mlcycle.cli import run
        assert run(["train", "log-mlflow", {str(run)!r}, "--to", {mlflow_store!r}]) == 0
        from mlflow.telemetry import get_telemetry_client
        from mlflow.telemetry.utils import is_telemetry_disabled
        assert is_telemetry_disabled() and get_telemetry_client() is None"""
    # MLflow switches its telemetry off in tests and on build servers, which this test must undo.
    quiet = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY")
    away = {key: value for key, value in environment().items() if key not in quiet}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=away, check=False)
    assert done.returncode == 0, done.stderr


def test_without_mlflow_the_install_line_is_shown(mlcycle, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    monkeypatch.delitem(sys.modules, "mlcycle.training.mlflow_log", raising=False)
    monkeypatch.delattr(training, "mlflow_log", raising=False)
    done = mlcycle("train", "log-mlflow", write_run(tmp_path / "run", METRICS))
    assert done.code == 2
    assert install_command("mlflow") in done.err
