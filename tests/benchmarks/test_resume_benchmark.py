"""`benchmarks/resume.py`: planning and delivering kills, and comparing runs bit by bit."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import Outcome, environment

torch = pytest.importorskip("torch")

from mlcycle.errors import GateError, InputError, MlcycleError  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run import checkpoint, tensor_file  # noqa: E402

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
sys.path += [str(FOLDER), str(Path(__file__).parent.parent / "training")]  # the latter holds small_run
fault_injection, resume, resume_check, run_comparison = map(
    importlib.import_module, ("fault_injection", "resume", "resume_check", "run_comparison")
)

pytestmark = [pytest.mark.training, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]
pytest_plugins = ("small_run",)

LAST = "step-00000006.safetensors"


def run_check(*words: str | Path) -> Outcome:
    """Runs resume.py in a subprocess, which starts many others."""
    command = [sys.executable, str(FOLDER / "resume.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment())
    return Outcome(done.returncode, done.stdout, done.stderr)


def changed(data: bytes, name: str, by: float) -> bytes:
    """Returns a checkpoint with one number of a tensor changed, and a valid seal."""
    tensors, texts = checkpoint.safetensors.torch.load(data), tensor_file.texts(data)
    tensors[name].flatten()[-1] += by
    texts[tensor_file.SEAL_KEY] = tensor_file.ZEROS.decode()
    return checkpoint.safetensors.torch.save(tensors, texts)


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


def test_one_kill_is_a_sigterm_after_half_of_the_steps_and_many_are_spread() -> None:
    [only] = fault_injection.plan(1, 40, random.Random(5))
    assert (only.signal_number, only.aim, only.after_step, only.delay) == (
        signal.SIGTERM,
        fault_injection.ANYTIME,
        20,
        0,
    )
    many = fault_injection.plan(50, 200, random.Random(5))
    assert sum(each.signal_number == signal.SIGKILL for each in many) == 25
    assert [each.after_step for each in many] == sorted(each.after_step for each in many)
    assert 0 < many[0].after_step < many[-1].after_step < 200
    assert {each.aim for each in many} == set(fault_injection.AIMS)
    assert many == fault_injection.plan(50, 200, random.Random(5)) != fault_injection.plan(50, 200, random.Random(6))


def test_a_check_shortens_the_recipe_except_for_given_values(recipe_path: Path) -> None:
    recipe = load(recipe_path, ["schedule.checkpoint_every=3", "schedule.evaluate_every=3", "schedule.warmup_steps=90"])
    shortened = resume_check.small(recipe, 40, ["schedule.evaluate_every"])
    schedule = shortened.schedule
    assert (schedule.steps, schedule.checkpoint_every, schedule.evaluate_every, schedule.warmup_steps) == (40, 5, 3, 5)
    assert shortened.data.validation_limit == 24
    assert resume_check.small(recipe, 1, []).schedule.checkpoint_every == 1


def test_a_failed_training_is_reported_with_its_message_and_exit_code(tmp_path: Path) -> None:
    training = resume_check._Training(tmp_path, resume_check.KILLED, tmp_path / "recipe.yaml", "cpu")
    training.log.write_text("error: of an earlier start\nhint: of an earlier start\n")
    training.log_start = training.log.stat().st_size
    with training.log.open("a") as log:
        log.write("a message\nerror: no such data set: x\nhint: a relative path\n")
    with pytest.raises(MlcycleError, match=r"^a training ended with 3: ") as problem:
        training.must_exit_with(3, 0)
    assert problem.value.message == "a training ended with 3: no such data set: x"
    assert (problem.value.exit_code, problem.value.hint) == (3, "a relative path")
    with pytest.raises(MlcycleError, match="killed by SIGKILL") as problem:
        training.must_exit_with(-9, 0)
    assert problem.value.exit_code == 1


@pytest.mark.slow
def test_the_phase_of_a_run_is_read_from_its_folder(copy: Path) -> None:
    watched = fault_injection.Watched(copy, 6, 3, 1.0, 1.0)
    assert watched.saved() == (6, 6)
    assert watched.phase(False) == "while starting"
    assert watched.phase(True) == "at the end"
    (copy / "checkpoints" / LAST).unlink()
    assert watched.phase(True) == "at a step"
    tensors, progress = checkpoint.load(copy / "checkpoints" / "step-00000003.safetensors")
    assert (progress.step, progress.evaluated_step) == (3, 3)
    texts = {tensor_file.PROGRESS_KEY: json.dumps({"step": 3, "evaluated_step": 0})}
    checkpoint.safetensors.torch.save_file(tensors, copy / "checkpoints" / "step-00000003.safetensors", texts)
    assert watched.phase(True) == "in evaluation"
    (copy / "checkpoints" / ".step-00000004.safetensors.part").touch()
    assert watched.phase(True) == "while saving"


def test_the_first_tensor_that_differs_is_named_with_its_largest_difference(finished_run: Path) -> None:
    one = (finished_run / "checkpoints" / LAST).read_bytes()
    assert run_comparison.compare_tensors("weights", one, one, "model.").is_equal
    other = changed(changed(one, "model.stem.convolution.weight", 0.5), "average.answer.bias", 0.25)
    weights = run_comparison.compare_tensors("weights", one, other, "model.")
    assert not weights.is_equal
    assert weights.difference.endswith("tensors differ, first model.stem.convolution.weight, by at most 0.5")
    assert weights.difference.startswith("1 of ")
    assert (
        "average.answer.bias, by at most 0.25" in run_comparison.compare_tensors("", one, other, "average.").difference
    )
    assert run_comparison.compare_tensors("optimizer", one, other, "optimizer.").is_equal


def test_a_last_bit_and_the_sign_of_zero_are_differences(finished_run: Path) -> None:
    one = (finished_run / "checkpoints" / LAST).read_bytes()
    stored = run_comparison.stored(one)
    assert any(name.startswith("optimizer.") for name in stored)
    at = one.index(bytes(stored["model.answer.bias"].data))
    other = one[:at] + bytes([one[at] ^ 1]) + one[at + 1 :]
    assert "first model.answer.bias, by at most " in run_comparison.compare_tensors("", one, other, "model.").difference
    zeros = (checkpoint.safetensors.torch.save({"a": torch.tensor([value])}) for value in (0.0, -0.0))
    assert not run_comparison.compare_tensors("", *zeros, "a").is_equal


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_tensors_of_all_types_are_read(kind: torch.dtype) -> None:
    data = checkpoint.safetensors.torch.save({"a": torch.tensor([[1, -3], [2, 96]], dtype=kind)})
    assert np.array_equal(run_comparison.stored(data)["a"].numbers(), [1, -3, 2, 96])


def test_reports_are_compared_without_times() -> None:
    one = [{"step": 20, "loss": 1.5, "seconds": 3.0}]
    assert run_comparison.compare_reports(one, [{"step": 20, "loss": 1.5, "seconds": 4.0}]).is_equal
    assert "1.25" in run_comparison.compare_reports(one, [{"step": 20, "loss": 1.25}]).difference
    assert "nothing" in run_comparison.compare_reports(one, []).difference


def test_a_lost_or_damaged_checkpoint_is_an_error(copy: Path) -> None:
    watched = fault_injection.Watched(copy, 6, 3, 1.0, 1.0)
    assert resume_check._newest_readable(watched, 6) == 6
    with pytest.raises(GateError, match="lost the checkpoint of step 7"):
        resume_check._newest_readable(watched, 7)
    path = copy / "checkpoints" / LAST
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(GateError, match="damaged checkpoint"):
        resume_check._newest_readable(watched, 6)


def test_a_folder_of_another_check_or_of_other_files_is_refused(recipe_path: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    for folder, words in ((copy, "of another recipe"), (tmp_path / "mine", "has no check")):
        with pytest.raises(InputError, match=words):
            resume_check.check(
                resume_check.small(load(recipe_path), 8, []), folder, count=1, seed=0, device="cpu", report=str
            )


def test_the_number_of_steps_must_be_given_with_its_option(
    recipe_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume.main([str(recipe_path), "schedule.steps=9"]) == 2
    assert "--steps" in capsys.readouterr().err
    assert resume.main([str(recipe_path), "demo"]) == 2


@pytest.mark.slow
def test_kills_change_no_bit_and_a_changed_bit_is_found(recipe_path: Path, tmp_path: Path) -> None:
    words = (recipe_path, "--steps", "8", "--kills", "4", "--out", tmp_path / "check")
    outcome = run_check(*words)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("  =  ") == 6
    assert "equal, bit by bit, after 4 kills" in outcome.out
    path = tmp_path / "check" / resume_check.KILLED / "checkpoints" / "step-00000016.safetensors"
    tensor_file.write(path, changed(path.read_bytes(), "model.answer.bias", 0.125))
    again = run_check(*words)  # resumes both finished runs: nothing is trained again
    assert again.code == 5, again.err
    assert "ends with other weights: 1 of " in again.err
    assert "first model.answer.bias, by at most 0.125" in again.err


@pytest.mark.slow
def test_a_check_stopped_by_sigterm_ends_its_trainings_and_removes_its_folder(
    recipe_path: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(FOLDER / "resume.py"), str(recipe_path), "--steps", "50000"]
    prover = subprocess.Popen(command, env=environment({"TMPDIR": str(tmp_path)}), stderr=subprocess.DEVNULL)
    trainings: list[psutil.Process] = []
    for _ in range(600):
        trainings = psutil.Process(prover.pid).children(recursive=True)
        if trainings and list(tmp_path.glob("*/uninterrupted/checkpoints")):
            break
        time.sleep(0.05)
    assert trainings
    os.kill(prover.pid, signal.SIGTERM)
    assert prover.wait(30) == 143
    assert not psutil.wait_procs(trainings, timeout=5)[1]
    assert list(tmp_path.glob("mlcycle-*")) == []  # torch has a folder of its own there


def test_delivered_kills_are_kept_for_a_resumed_check(tmp_path: Path) -> None:
    assert resume_check._read_faults(tmp_path) == []
    faults = [resume_check.Fault("SIGKILL", "at a step", 5), resume_check.Fault("SIGTERM", "while saving", 7)]
    resume_check._write_faults(tmp_path, faults)
    assert resume_check._read_faults(tmp_path) == faults


@pytest.mark.slow
def test_an_incomplete_uninterrupted_run_is_trained_again_from_the_start(recipe_path: Path, tmp_path: Path) -> None:
    words = (recipe_path, "--steps", "4", "--kills", "1", "--out", tmp_path / "check")
    assert run_check(*words).code == 0
    for path in (tmp_path / "check" / "uninterrupted" / "checkpoints").glob("step-00000008*"):
        path.unlink()
    outcome = run_check(*words)
    assert outcome.code == 0, outcome.err
    environment = json.loads((tmp_path / "check" / "uninterrupted" / "environment.json").read_text())
    assert "resumed" not in environment
    assert "after 1 kills" in outcome.out
