"""`mlcycle train sweep`: which runs are trained, kept and refused, and the effects of signals and failures."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import environment

pytest.importorskip("torch")  # the train extra

from filelock import FileLock

from mlcycle.training.data import training_data
from mlcycle.training.distributed import device
from mlcycle.training.studies import sweep as conductor

pytest_plugins = ("small_run",)
pytestmark = [pytest.mark.training, pytest.mark.usefixtures("fake_training")]

# Replaces a training: it writes the same files, fails with seed 3, and waits for a signal with seed 4.
FAKE_TRAINING = """
import json, pathlib, signal, sys, time
import yaml
from mlcycle.training import stopping
stopping.stop_with_the_parent()
words = sys.argv[1:]
run = pathlib.Path(words[words.index("--out") + 1])
with open(run.parent / "called.txt", "a") as file:
    print("resume" if "--resume" in words else "begin", run.name, *words[words.index("--out") + 2 :], file=file)
text = (run / "recipe.yaml" if "--resume" in words else pathlib.Path(words[1])).read_text()
recipe = yaml.safe_load(text)
run.mkdir(exist_ok=True)
(run / "recipe.yaml").write_text(text)
if recipe["seed"] == 3 and not (run.parent / "mended").exists():
    print("some output")
    sys.exit("error: the loss is not finite")
if recipe["seed"] == 4 and "--resume" not in words:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (run.parent / "waits").touch()
    time.sleep(60)
rule = recipe["schedule"]
line = {"step": rule["steps"], "average_precision_50": rule["learning_rate"], "average_precision": 0.1}
(run / "metrics.jsonl").write_text(json.dumps(line | {"loss": 1.0}))
"""


@pytest.fixture
def real_training() -> None:
    """For a test that sweeps over real trainings."""


@pytest.fixture
def fake_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "real_training" not in request.fixturenames:
        monkeypatch.setattr(conductor, "TRAINING", FAKE_TRAINING)
        monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        monkeypatch.setattr(conductor, "POLL_INTERVAL", 0.02)
        monkeypatch.setattr(conductor, "load_training_data", lambda data: None)
    monkeypatch.chdir(tmp_path)


def called(sweep: Path) -> list[str]:
    """Returns the trainings since the last call, and resets the list."""
    file = sweep / "called.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


@pytest.mark.slow
def test_every_setting_is_trained_once_and_finished_runs_are_kept(mlcycle, tmp_path: Path) -> None:
    command = ("train", "sweep", "demo", "schedule.learning_rate=[0.1,0.3]", "--seeds", "2")
    done = mlcycle(*command)
    sweep = tmp_path / "sweeps/demo"
    assert done.code == 0
    assert len(called(sweep)) == 4
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == ["0.3", "0.1"]
    assert "run 4 of 4: schedule.learning_rate=0.3,seed=2; about " in done.err
    assert (sweep / "sweep.html").is_file()
    again = mlcycle(*command)
    assert (again.code, called(sweep)) == (0, [])
    assert "4 runs in sweeps/demo, 0 to train" in again.err
    shown = mlcycle("train", "sweep", "--table", sweep)
    assert (shown.code, shown.out) == (0, done.out)


def test_new_values_are_added_and_another_recipe_is_refused(mlcycle, tmp_path: Path) -> None:
    mlcycle("train", "sweep", "demo", "schedule.learning_rate=[0.1,0.3]", "--out", "s")
    sweep = tmp_path / "s"
    called(sweep)
    more = mlcycle("train", "sweep", "demo", "schedule.learning_rate=[0.3,0.5]", "--out", "s")
    assert (more.code, called(sweep)) == (0, ["begin schedule.learning_rate=0.5"])
    assert "1 run of other values in s kept" in more.err
    assert len(more.out.splitlines()) == 4
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    for words, message in (
        (["schedule.learning_rate=[0.7]", "model.depth=3"], "its model.depth is 1, not 3"),
        (["schedule.learning_rate=[0.7]", "--seeds", "2"], "a sweep over schedule.learning_rate, not over"),
    ):
        refused = mlcycle("train", "sweep", "demo", *words, "--out", "s")
        assert refused.code == 3
        assert message in refused.err
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    assert mlcycle("train", "sweep", "demo", "seed=[1,2]", "--out", "other").code == 3
    begun = sweep / "schedule.learning_rate=0.3/recipe.yaml"
    begun.write_text(begun.read_text().replace("steps: 1800", "steps: 1801"))
    changed = mlcycle("train", "sweep", "demo", "schedule.learning_rate=[0.3]", "--out", "s")
    assert (changed.code, "was started with another recipe" in changed.err) == (3, True)
    begun.write_bytes(before[begun])
    assert {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()} == before


def test_device_options_are_passed_to_each_training(mlcycle, tmp_path: Path) -> None:
    where = ("--device", "cpu", "--devices", "2")
    ended = mlcycle("train", "sweep", "demo", "seed=[1,3]", "--out", "s", *where)
    assert called(tmp_path / "s") == [f"begin seed={seed} {' '.join(where)}" for seed in (1, 3)]
    assert f"{' '.join(where)} --out s --retry-failed" in ended.err


def test_all_recipes_are_checked_before_anything_is_written(mlcycle, tmp_path: Path) -> None:
    wrong = mlcycle("train", "sweep", "demo", "schedule.learning_rate=[0.1,0]")
    assert (wrong.code, "must be more than 0" in wrong.err) == (2, True)
    assert mlcycle("train", "sweep", "demo", "schedule.steps=5").code == 2
    assert mlcycle("train", "sweep", "demo", "augment.zoom=[0.5,1.0]").code == 2
    planned = mlcycle("train", "sweep", "demo", "--seeds", "60", "--dry-run")
    assert planned.code == 0
    assert "60 runs are many" in planned.err
    assert not list(tmp_path.iterdir())


def test_missing_device_or_data_stops_the_sweep_before_the_first_run(
    mlcycle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)
    refused = mlcycle("train", "sweep", "demo", "seed=[1,3]", "--device", "cuda")
    assert (refused.code, refused.err.splitlines()[0]) == (6, "error: the device cuda is not available")
    assert not list(tmp_path.iterdir())
    mlcycle("train", "sweep", "demo", "seed=[1]")
    monkeypatch.setattr(conductor, "load_training_data", training_data.load_training_data)
    lacking = mlcycle("train", "sweep", "demo", "seed=[1,3]", "--dry-run")
    assert (lacking.code, lacking.err.splitlines()[0]) == (3, "error: no such data set: data/demo")
    assert mlcycle("train", "sweep", "demo", "seed=[1]").code == 0  # its run has finished


@pytest.mark.slow
def test_failed_run_does_not_stop_the_sweep(mlcycle, tmp_path: Path) -> None:
    command = ("train", "sweep", "demo", "seed=[1,3,5]", "--out", "s")
    done = mlcycle(*command)
    sweep = tmp_path / "s"
    assert done.code == 1
    assert called(sweep) == ["begin seed=1", "begin seed=3", "begin seed=5"]
    assert "seed=3 failed with exit code 1: the loss is not finite" in done.err
    states = [line["state"] for line in csv.DictReader((sweep / "sweep.csv").open())]
    assert states == ["finished", "failed", "finished"]
    again = mlcycle(*command)
    assert (again.code, called(sweep)) == (1, [])
    assert "1 run failed before; --retry-failed" in again.err
    (sweep / "mended").touch()
    assert mlcycle(*command, "--retry-failed").code == 0
    assert called(sweep) == ["resume seed=3"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_saves_the_current_run_and_the_same_command_resumes(number: int, mlcycle, tmp_path: Path) -> None:
    words = ["train", "sweep", "demo", "seed=[1,4,5]", "--out", "s"]
    code = "import sys; from mlcycle.training.studies import sweep; sweep.TRAINING = sys.argv.pop(1)\n"
    code += "sweep.load_training_data = lambda data: None\n"
    code += "from mlcycle.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, FAKE_TRAINING, *words], stderr=subprocess.PIPE, text=True, env=environment()
    )
    sweep = tmp_path / "s"
    deadline = time.monotonic() + 60
    while not (sweep / "waits").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        assert "resume with: mlcycle train sweep demo 'seed=[1,4,5]' --out s" in message
        assert json.loads((sweep / "sweep.json").read_text())["runs"]["seed=4"]["code"] == 143
    assert called(sweep) == ["begin seed=1", "begin seed=4"]
    assert mlcycle(*words).code == 0
    assert called(sweep) == ["resume seed=4", "begin seed=5"]


def test_folder_is_locked_during_a_sweep(mlcycle, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with FileLock(tmp_path / "s/lock"):
        done = mlcycle("train", "sweep", "demo", "seed=[1,2]", "--out", "s")
    assert (done.code, "in use by another process" in done.err) == (3, True)
    assert mlcycle("train", "sweep", "--table", "s").code == 3


def test_resume_accepts_the_path_of_a_run(mlcycle, tmp_path: Path) -> None:
    run = tmp_path / "sweeps/demo/schedule.learning_rate=0.1,seed=1"
    run.mkdir(parents=True)
    done = mlcycle("train", "--resume", run.relative_to(tmp_path))
    assert (done.code, f"{run.relative_to(tmp_path)} is not a run folder" in done.err) == (3, True)


@pytest.mark.slow
def test_real_trainings_with_a_diverging_one(real_training, mlcycle, recipe_path: Path, tmp_path: Path) -> None:
    values = "schedule.learning_rate=[0.001,1.0e+30]"
    done = mlcycle("train", "sweep", recipe_path, values, "--device", "cpu", "--out", tmp_path / "s")
    assert done.code == 1
    assert "schedule.learning_rate=1e+30 failed with exit code 1: the loss or its gradient is not finite" in done.err
    good, bad = csv.DictReader((tmp_path / "s/sweep.csv").open())
    assert (good["state"], good["steps"], good["exit_code"]) == ("finished", "6", "0")
    assert bad["state"] == "failed"
    assert (tmp_path / "s/schedule.learning_rate=0.001/report.html").is_file()
