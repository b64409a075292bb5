"""Event files of TensorBoard's and the file store of MLflow's: what their own readers find in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("torch")  # the train extra

from test_run_summary import score, stretch, write_run

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


def test_a_run_keeps_event_files_of_its_metrics(mlcycle, recipe_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = tmp_path / "run"
    assert mlcycle("-q", "train", recipe_path, "schedule.workers=0", "--out", run, "--tensorboard").code == 0
    events = records(run / "tensorboard")
    assert events[0].file_version == "brain.Event:2"
    told = run_summary.read(run)
    assert scalars(events, "loss") == [(step, pytest.approx(value)) for step, value in told.curve("loss")]
    assert [step for step, _ in scalars(events, "average_precision_50")] == [3, 6]
    # No name of the machine, which TensorBoard's own writer puts there.
    assert all(path.name.endswith(".mlcycle") for path in (run / "tensorboard").iterdir())


def test_what_was_reported_before_comes_first_and_a_resumed_run_takes_back_what_it_repeats(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = write_run(tmp_path / "run", [])
    with event_files.event_file(run, METRICS[:2], True) as file:
        file.add(METRICS[2])
    with event_files.event_file(run, METRICS[:2], True) as file:
        file.add(METRICS[2])
    events = records(run / "tensorboard")
    assert scalars(events, "seconds") == [(20, 20), (40, 40), (40, 40)]
    assert [event.step for event in events if event.HasField("session_log")] == [21]


def test_none_is_written_that_was_not_asked_for(tmp_path: Path) -> None:
    with event_files.event_file(tmp_path, METRICS, False) as file:
        assert file is None
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboardx_the_run_is_not_begun(mlcycle, monkeypatch, recipe_path: Path, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    done = mlcycle("train", recipe_path, "--out", tmp_path / "run", "--tensorboard")
    assert done.code == 2
    assert "pip install 'mlcycle[tensorboard]'" in done.err
    assert not (tmp_path / "run").exists()


def test_a_run_in_mlflows_store_is_there_once(mlcycle, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", METRICS, device="cpu", data={"fingerprint": "aa", "train_faces": 3})
    store = tmp_path / "mlruns"
    first = mlcycle("train", "log-mlflow", run, "--to", store)
    assert first.code == 0
    folder = Path(first.out.strip())
    assert (folder / "params" / "schedule.steps").read_text() == "40"
    assert (folder / "tags" / "mlcycle.data.fingerprint").read_text() == "aa"
    lines = (folder / "metrics" / "average_precision_50").read_text().splitlines()
    assert [line.split()[1:] for line in lines] == [["0.5", "20"], ["0.25", "40"]]
    assert mlcycle("train", "log-mlflow", run, "--to", store).code == 3
    assert mlcycle("train", "log-mlflow", run, "--to", store, "--overwrite").out == first.out
    assert [each.name for each in store.iterdir()] == [folder.parent.name]
    assert len(list(folder.parent.iterdir())) == 2


def test_mlflow_finds_the_run(mlcycle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setitem(os.environ, name, "true")
    tracking = pytest.importorskip("mlflow.tracking")
    run = write_run(tmp_path / "run", METRICS, device="cpu", data={"fingerprint": "aa"})
    assert mlcycle("train", "log-mlflow", run, "--to", tmp_path / "mlruns").code == 0
    client = tracking.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    [experiment] = client.search_experiments()
    [found] = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["schedule.steps"] == "40"
    history = client.get_metric_history(found.info.run_id, "images_per_second")
    assert [(each.step, each.value) for each in history] == [(20, 30.0), (40, 30.0)]
