"""Resuming a run after a kill, damage, loss or change; the result must be that of an uninterrupted run."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import psutil  # noqa: E402
from conftest import Outcome, environment  # noqa: E402

from mlcycle.errors import Interrupted, MlcycleError  # noqa: E402
from mlcycle.training import stopping  # noqa: E402
from mlcycle.training.fit import fit  # noqa: E402
from mlcycle.training.progress.display import Display  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run import checkpoint, tensor_file  # noqa: E402
from mlcycle.training.run.run_folder import RunFolder  # noqa: E402

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("without_reports")]
pytest_plugins = ("small_run",)

ALONE = "schedule.workers=0"
LAST = "step-00000006.safetensors"


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Calls `act` when a run has done this step."""
    monkeypatch.setattr(Display, "step", lambda self, done: act() if done == step else None)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def flip(path: Path, at: int = -100) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def reports(run: Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl without values measured by a clock."""
    measured = (
        "seconds",
        "seconds_per_step",
        "images_per_second",
        "flops_per_second",
        "data_wait_share",
        "memory_bytes",
    )
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in measured} for line in lines]


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, which tests may damage."""
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


def test_a_checkpoint_older_than_a_damaged_one_is_kept(
    recipe_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    flip(copy / "checkpoints" / LAST)
    stop_at(4, monkeypatch, terminate)
    with pytest.raises(Interrupted, match="at step 4"):
        fit(load(recipe_path, [ALONE, "schedule.keep_checkpoints=1"]), copy, device="cpu", resume=True)
    errors = capfd.readouterr().err
    assert f"{LAST} cannot be read: it is damaged" in errors
    assert "resumed from step 3" in errors
    assert checkpoint.load(copy / "checkpoints" / "step-00000004.safetensors")[1].step == 4


def test_the_best_score_of_a_later_step_is_kept(recipe_path: Path, copy: Path) -> None:
    recipe = load(recipe_path, [ALONE])
    checkpoints = copy / "checkpoints"
    (checkpoints / LAST).unlink()
    tensors, progress = checkpoint.load(checkpoints / "best.safetensors")
    texts = {tensor_file.PROGRESS_KEY: json.dumps({"step": 6, "best_score": 2.0, "best_step": 6})}
    checkpoint.safetensors.torch.save_file(tensors, checkpoints / "best.safetensors", texts)
    assert progress.best_score < 2
    result = fit(recipe, copy, device="cpu", resume=True, quiet=True)
    assert (result.average_precision_50, result.best_step) == (2.0, 6)


@pytest.mark.parametrize("spoil", [Path.unlink, flip])
def test_a_lost_best_checkpoint_is_replaced(
    recipe_path: Path, finished_run: Path, copy: Path, spoil: Callable[[Path], None],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    best = copy / "checkpoints" / "best.safetensors"
    spoil(best)
    result = fit(load(recipe_path, [ALONE]), copy, device="cpu", resume=True)
    assert "the best from now on takes its place" in capfd.readouterr().err
    tensors, progress = checkpoint.load(best)
    assert result.best_step == progress.best_step == 6
    last = checkpoint.load(finished_run / "checkpoints" / LAST)[0]
    assert torch.equal(tensors["average.answer.weight"], last["average.answer.weight"])
    assert reports(copy) == reports(finished_run)


@pytest.mark.parametrize("step", [2, 3, 5])
def test_reports_do_not_depend_on_a_stop(
    recipe_path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    recipe, run = load(recipe_path, [ALONE]), tmp_path / "run"
    stop_at(step, monkeypatch, terminate)
    with pytest.raises(Interrupted):
        fit(recipe, run, device="cpu", quiet=True)
    fit(recipe, run, device="cpu", resume=True, quiet=True)
    assert [entry["step"] for entry in reports(run)] == [3, 6, 6]
    assert reports(run) == reports(finished_run)


def test_a_repeated_stop_request_still_saves(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both() -> None:
        terminate()
        terminate()

    monkeypatch.setattr(stopping, "REPEAT_SECONDS", 60.0)  # however long this machine stands still
    stop_at(2, monkeypatch, both)
    with pytest.raises(Interrupted, match="at step 2"):
        fit(load(recipe_path, [ALONE]), tmp_path / "run", device="cpu", quiet=True)
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "step-00000002.safetensors")[1].step == 2


def test_incomplete_files_are_removed(recipe_path: Path, copy: Path) -> None:
    drafts = [copy / ".metrics.jsonl.part", copy / "checkpoints" / ".step-00000005.safetensors.part"]
    for each in drafts:
        each.write_text("half")
    fit(load(recipe_path), copy, device="cpu", resume=True, quiet=True)
    assert not any(each.exists() for each in drafts)


def test_a_folder_without_a_recipe_can_be_used_for_a_new_run(
    recipe_path: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("lock", ".recipe.yaml.part"):
        (run / name).touch()
    words = ("-q", "train", recipe_path, ALONE, "schedule.steps=1", "--device", "cpu", "--out", run)
    outcome: Outcome = mlcycle(*words)
    assert outcome.code == 0, outcome.err
    assert mlcycle(*words).code == 3
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    (tmp_path / "other" / "checkpoints" / "mine").touch()
    assert mlcycle(*words[:-1], tmp_path / "other").code == 3


def test_changed_arithmetic_and_a_changed_recipe_are_reported(
    recipe_path: Path, copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (copy / "checkpoints" / LAST).unlink()
    path = copy / "environment.json"
    noted = json.loads(path.read_text())
    noted["device"], noted["instructions"], noted["packages"]["torch"] = "cpu (99 threads)", "ABACUS", "0.1"
    path.write_text(json.dumps(noted))
    fit(load(recipe_path, [ALONE]), copy, device="cpu", resume=True)
    errors = capfd.readouterr().err
    for words in (
        "device cpu (99 threads), now cpu (",
        "instructions ABACUS, now",
        "torch 0.1, now",
        "another recipe.yaml: ",
    ):
        assert words in errors
    assert "numpy" not in errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_worker_costs_no_step(recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill_readers() -> None:
        for each in psutil.Process().children():
            each.kill()
            each.wait()

    stop_at(1, monkeypatch, kill_readers)
    with pytest.raises(MlcycleError, match=r"has died; the run is saved at step \d+"):
        fit(load(recipe_path, ["schedule.steps=50"]), tmp_path / "run", device="cpu", quiet=True)
    assert checkpoint.load(max((tmp_path / "run" / "checkpoints").glob("step-*")))[1].step >= 1


def begin(recipe: Path, run: Path, *more: str, **how: Any) -> subprocess.Popen:
    """Starts a long run as a user would and waits for its first report."""
    words = [sys.executable, "-m", "mlcycle", "train", str(recipe), "--device", "cpu", "--out", str(run)]
    process = subprocess.Popen(
        [*words, "schedule.steps=100000", "schedule.evaluate_every=100000", *more], env=environment(), **how
    )
    for _ in range(600):
        if process.poll() is not None or ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size):
            break
        time.sleep(0.1)
    return process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
def test_a_closed_terminal_costs_no_step(recipe_path: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    never = "schedule.checkpoint_every=100000"
    process = begin(recipe_path, tmp_path / "run", ALONE, never, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)  # from here on, what it writes fails
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 129
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_closed_log_pipe_costs_no_step(recipe_path: Path, tmp_path: Path) -> None:
    never = "schedule.checkpoint_every=100000"
    process = begin(recipe_path, tmp_path / "run", ALONE, never, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    process.stdout.close()  # like `tee`, which gets the same Ctrl-C
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_image_ends_the_trainer_and_its_workers(
    labelled_set: Path, recipe_path: Path, tmp_path: Path, workers: int
) -> None:
    shutil.copytree(labelled_set, tmp_path / "set")
    image = tmp_path / "set" / "images" / "train" / "1.jpg"
    image.write_bytes(image.read_bytes()[:3000])
    words = [recipe_path, f"data.train.0.path={tmp_path / 'set'}", f"schedule.workers={workers}", "schedule.steps=30"]
    line = [sys.executable, "-m", "mlcycle", "train", *map(str, words), "--device", "cpu", "--out", tmp_path / "run"]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "1.jpg cannot be read" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere readers take some seconds to notice")
def test_workers_end_with_the_trainer(recipe_path: Path, tmp_path: Path) -> None:
    process = begin(recipe_path, tmp_path / "run", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    readers = psutil.Process(process.pid).children()
    assert len(readers) == 1
    process.kill()
    process.wait()
    assert not psutil.wait_procs(readers, timeout=2)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_leaves_the_previous_checkpoint(recipe_path: Path, copy: Path) -> None:
    import resource

    (copy / "checkpoints" / LAST).unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # a checkpoint needs more
    try:
        with pytest.raises(MlcycleError, match="cannot be written") as caught:
            fit(load(recipe_path, [ALONE]), copy, device="cpu", resume=True, quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.exit_code == 3
    assert not list((copy / "checkpoints").glob(".*"))
    assert fit(load(recipe_path, [ALONE]), copy, device="cpu", resume=True, quiet=True).steps == 6


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_metrics_line_cut_by_a_full_disk_is_reported_and_ignored(copy: Path) -> None:
    import resource

    folder, whole = RunFolder(copy), (copy / "metrics.jsonl").read_text()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, before[1]))
    try:
        with pytest.raises(MlcycleError, match=r"metrics\.jsonl cannot be written"):
            folder.append_metrics({"step": 9, "loss": 1.0, "why": "longer than the disk has space for"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (copy / "metrics.jsonl").read_text() != whole
    folder.forget_metrics_after(6, 6)
    assert (copy / "metrics.jsonl").read_text() == whole
