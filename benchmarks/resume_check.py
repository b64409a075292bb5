"""Conductor of resume.py: trains a recipe without interruption and with kills, and compares both runs.

Both trainings run in subprocesses, started by the command that a user would type. Read it top to bottom.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import fault_injection
import run_comparison
from fault_injection import Kill, Watched
from run_comparison import Compared

from mlcycle.errors import DataError, GateError, InputError, MlcycleError
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.recipes.recipe_file import dump
from mlcycle.training.run import tensor_file
from mlcycle.training.run.last_log_lines import last_log_lines
from mlcycle.training.run.run_folder import BEST, RECIPE, RunFolder

UNINTERRUPTED, KILLED, KILLS, LOG = "uninterrupted", "killed", "kills.jsonl", "log.txt"
# Exit codes after SIGTERM: after saving, or before Python could handle it.
STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)
# The longest delay of a kill, as a multiple of the time between two checkpoints.
MAX_DELAY = 1.5

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A delivered kill: the signal's name, the run's phase, and the newest step saved by then."""

    signal: str
    phase: str
    saved_step: int


@dataclass(slots=True)
class Outcome:
    """The kills, in order, and the compared parts of both runs."""

    faults: list[Fault] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)


def small(recipe: Recipe, steps: int, kept: Sequence[str]) -> Recipe:
    """Returns a recipe of `steps` steps that saves and evaluates often, with the values of `kept` unchanged.

    Args:
        kept: keys of the recipe, such as "schedule.checkpoint_every".
    """
    interval = max(1, steps // 8)
    schedule: dict[str, int] = {
        "checkpoint_every": interval, "evaluate_every": interval,
        "warmup_steps": min(recipe.schedule.warmup_steps, interval),
    }  # fmt: skip
    changes = {key: value for key, value in schedule.items() if f"schedule.{key}" not in kept} | {"steps": steps}
    limit = recipe.data.validation_limit
    data = {"validation_limit": limit if "data.validation_limit" in kept else min(limit, 24)}
    return recipe.model_copy(
        update={
            "schedule": recipe.schedule.model_copy(update=changes),
            "data": recipe.data.model_copy(update=data),
        }
    )


def check(recipe: Recipe, folder: Path, *, count: int, seed: int, device: str, report: Report) -> Outcome:
    """Trains a recipe without interruption and with kills, and compares both runs.

    Args:
        folder: of both runs; those of an earlier call with the same recipe are resumed.
        count: number of kills.
        seed: of their random moments.
        report: prints a line of progress.

    Raises:
        InputError: the folder belongs to another recipe.
        GateError: a checkpoint was lost.
        MlcycleError: a training failed.
    """
    path = _prepare(recipe, folder)
    uninterrupted = _Training(folder, UNINTERRUPTED, path, device)
    report(f"training {recipe.schedule.steps} steps without interruption")
    watched = uninterrupted.measure(recipe)
    killed = _Training(folder, KILLED, path, device)
    outcome = Outcome(_read_faults(folder))
    for kill in fault_injection.plan(count, recipe.schedule.steps, random.Random(seed))[len(outcome.faults) :]:
        fault = _kill(killed, kill, replace(watched, run=killed.run))
        if fault is None:  # the run ended first
            break
        outcome.faults.append(fault)
        _write_faults(folder, outcome.faults)
        report(f"kill {len(outcome.faults)} of {count}: {fault.signal} {fault.phase}; {_saved(fault.saved_step)}")
    killed.finish()
    outcome.compared = _compare(uninterrupted.run, killed.run, recipe.schedule.steps)
    return outcome


def _saved(step: int) -> str:
    return f"step {step} is saved" if step >= 0 else "nothing is saved yet"


def _prepare(recipe: Recipe, folder: Path) -> Path:
    path = folder / RECIPE
    if path.is_file():
        if path.read_text("utf-8") != dump(recipe):
            raise InputError(f"{folder} has a check of another recipe", "choose another folder with --out")
        return path
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} already exists and has no check", "choose another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder).write(RECIPE, dump(recipe))
    return path


class _Training:
    """A run folder, and the command that trains in it."""

    def __init__(self, folder: Path, name: str, recipe: Path, device: str) -> None:
        self.run, self.recipe, self.device, self.log = folder / name, recipe, device, folder / LOG
        self.log_start = 0  # bytes of the log before the last start

    def start(self) -> subprocess.Popen[bytes]:
        has_started = (self.run / RECIPE).is_file()
        start = ["--resume", str(self.run)] if has_started else [str(self.recipe), "--out", str(self.run)]
        with self.log.open("ab") as log:
            self.log_start = log.tell()
            return subprocess.Popen(
                [sys.executable, "-m", "mlcycle", "train", *start, "--device", self.device],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def finish(self) -> None:
        with _Owned(self.start()) as process:
            self.must_exit_with(process.wait(), 0)

    def must_exit_with(self, code: int, *expected: int) -> None:
        if code not in expected:
            error, hint = last_log_lines(self.log, self.log_start, code)
            problem = MlcycleError(
                f"a training ended with {code}: {error}", hint or "with --out DIR, its log is DIR/log.txt"
            )
            problem.exit_code = code if 0 < code < 128 else MlcycleError.exit_code
            raise problem

    def measure(self, recipe: Recipe) -> Watched:
        """Trains to the end, and measures the time to start and from one checkpoint to the next."""
        schedule = recipe.schedule
        watched = Watched(self.run, schedule.steps, schedule.evaluate_every, 1.0, 1.0)
        if watched.saved() != (schedule.steps, schedule.steps):
            shutil.rmtree(self.run, ignore_errors=True)  # an earlier call was interrupted here: start again
        before, begin, begun = watched.environment_written(), time.monotonic(), 0.0
        with _Owned(self.start()) as process:
            while process.poll() is None:
                if not begun and watched.environment_written() != before:
                    begun = time.monotonic()
                time.sleep(0.02)
            self.must_exit_with(process.returncode, 0)
        seconds = [line["seconds"] for line in RunFolder(self.run).metrics() if "seconds" in line]
        stretch = seconds[-1] / schedule.steps * schedule.checkpoint_every * MAX_DELAY
        return replace(watched, start_seconds=(begun or time.monotonic()) - begin, stretch_seconds=stretch)


class _Owned:
    """Kills a process at the end of the block, if it still runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *problem: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _kill(training: _Training, kill: Kill, watched: Watched) -> Fault | None:
    """Trains until a kill is delivered; None if the run ends first."""
    saved, _ = watched.saved()
    before = watched.environment_written()
    with _Owned(training.start()) as process:
        phase = fault_injection.strike(kill, process, watched, before)
        if phase is None:
            training.must_exit_with(process.returncode, 0)
            return None
        expected = STOPPED if kill.signal_number == signal.SIGTERM else (-signal.SIGKILL,)
        training.must_exit_with(process.returncode, *expected)
    return Fault(signal.Signals(kill.signal_number).name, phase, _newest_readable(watched, saved))


def _newest_readable(watched: Watched, saved: int) -> int:
    """Returns the step of the newest checkpoint, which must be intact and not older than the one before the kill."""
    step, _ = watched.saved()
    if step >= 0:
        try:
            tensor_file.read(RunFolder(watched.run).checkpoint_path(step))
        except DataError as problem:
            raise GateError(f"a kill left a damaged checkpoint: {problem.message}", "report it as a bug") from None
    if step < saved:
        raise GateError(f"a kill lost the checkpoint of step {saved}; the newest is of {step}", "report it as a bug")
    return step


def _read_faults(folder: Path) -> list[Fault]:
    """Returns the kills of an earlier call."""
    try:
        lines = (folder / KILLS).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [Fault(**json.loads(line)) for line in lines]


def _write_faults(folder: Path, faults: list[Fault]) -> None:
    RunFolder(folder).write(KILLS, "".join(json.dumps(asdict(each)) + "\n" for each in faults))


def _compare(uninterrupted: Path, killed: Path, steps: int) -> list[Compared]:
    folders = RunFolder(uninterrupted), RunFolder(killed)
    one, other = (tensor_file.read(each.checkpoint_path(steps)) for each in folders)
    best, other_best = (tensor_file.read(each.checkpoints / BEST) for each in folders)
    return [
        run_comparison.compare_tensors("weights", one, other, "model."),
        run_comparison.compare_tensors("EMA", one, other, "average."),
        run_comparison.compare_tensors("optimizer", one, other, "optimizer."),
        run_comparison.compare_tensors("best EMA", best, other_best, "average."),
        run_comparison.compare_progress(one, other),
        run_comparison.compare_reports(*(each.metrics() for each in folders)),
    ]
