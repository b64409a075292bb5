"""The conductor of resume.py: trains a recipe in one go, and once more with kills, and compares both.

Both trainings are processes of their own, started by the command that a user would type. Read it top to bottom.
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

WHOLE, KILLED, KILLS, LOG = "whole", "killed", "kills.jsonl", "log.txt"
# What a training ends with that SIGTERM stopped: saved, or before Python could hear it.
STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)
# Of a stretch between two checkpoints: how far into the next one a kill may fall.
STRETCHES = 1.5

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A kill that was delivered: the signal's name, where, and the newest step that had been saved by then."""

    signal: str
    place: str
    saved_step: int


@dataclass(slots=True)
class Outcome:
    """The kills, in order, and what of both runs was compared."""

    faults: list[Fault] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)


def small(recipe: Recipe, steps: int, kept: Sequence[str]) -> Recipe:
    """Returns a recipe of `steps` steps that saves and evaluates often, but for those of its values that are `kept`.

    Args:
        kept: keys of the recipe, as "schedule.checkpoint_every".
    """
    often = max(1, steps // 8)
    schedule: dict[str, int] = {
        "checkpoint_every": often, "evaluate_every": often, "warmup_steps": min(recipe.schedule.warmup_steps, often),
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


def check(recipe: Recipe, folder: Path, *, count: int, seed: int, device: str, tell: Tell) -> Outcome:
    """Trains a recipe in one go and with kills, and compares all that both runs hold.

    Args:
        folder: where both go; what an earlier call with the same recipe left there is resumed.
        count: how many kills.
        seed: chooses their moments.
        tell: told what happens.

    Raises:
        InputError: the folder is one of another recipe.
        GateError: a checkpoint was lost.
        MlcycleError: a training failed.
    """
    path = _begin(recipe, folder)
    whole = _Training(folder, WHOLE, path, device)
    tell(f"training {recipe.schedule.steps} steps in one go")
    watched = whole.measure(recipe)
    killed = _Training(folder, KILLED, path, device)
    outcome = Outcome(_earlier(folder))
    for kill in fault_injection.plan(count, recipe.schedule.steps, random.Random(seed))[len(outcome.faults) :]:
        fault = _kill(killed, kill, replace(watched, run=killed.run))
        if fault is None:  # the run came to its end
            break
        outcome.faults.append(fault)
        _note(folder, outcome.faults)
        tell(f"kill {len(outcome.faults)} of {count}: {fault.signal} {fault.place}; {_saved(fault.saved_step)}")
    killed.to_the_end()
    outcome.compared = _compare(whole.run, killed.run, recipe.schedule.steps)
    return outcome


def _saved(step: int) -> str:
    return f"step {step} is saved" if step >= 0 else "nothing is saved yet"


def _begin(recipe: Recipe, folder: Path) -> Path:
    path = folder / RECIPE
    if path.is_file():
        if path.read_text("utf-8") != dump(recipe):
            raise InputError(f"{folder} holds a check of another recipe", "choose another folder with --out")
        return path
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} exists already and holds no check", "choose another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder).write(RECIPE, dump(recipe))
    return path


class _Training:
    """A run folder, and how a user would train in it."""

    def __init__(self, folder: Path, name: str, recipe: Path, device: str) -> None:
        self.run, self.recipe, self.device, self.log = folder / name, recipe, device, folder / LOG
        self.said_before = 0  # bytes of the log

    def start(self) -> subprocess.Popen[bytes]:
        has_begun = (self.run / RECIPE).is_file()
        words = ["--resume", str(self.run)] if has_begun else [str(self.recipe), "--out", str(self.run)]
        with self.log.open("ab") as log:
            self.said_before = log.tell()
            return subprocess.Popen(
                [sys.executable, "-m", "mlcycle", "train", *words, "--device", self.device],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def to_the_end(self) -> None:
        with _Held(self.start()) as process:
            self.must_be(process.wait(), 0)

    def must_be(self, code: int, *fine: int) -> None:
        if code not in fine:
            error, hint = last_log_lines(self.log, self.said_before, code)
            problem = MlcycleError(
                f"a training ended with {code}: {error}", hint or "with --out DIR, all it said is in DIR/log.txt"
            )
            problem.exit_code = code if 0 < code < 128 else MlcycleError.exit_code
            raise problem

    def measure(self, recipe: Recipe) -> Watched:
        """Trains to the end, and notes how long it takes to start and from one checkpoint to the next."""
        rule = recipe.schedule
        watched = Watched(self.run, rule.steps, rule.evaluate_every, 1.0, 1.0)
        if watched.saved() != (rule.steps, rule.steps):
            shutil.rmtree(self.run, ignore_errors=True)  # an earlier call was stopped here: it would not be in one go
        before, begin, begun = watched.environment_written(), time.monotonic(), 0.0
        with _Held(self.start()) as process:
            while process.poll() is None:
                if not begun and watched.environment_written() != before:
                    begun = time.monotonic()
                time.sleep(0.02)
            self.must_be(process.returncode, 0)
        seconds = [line["seconds"] for line in RunFolder(self.run).metrics() if "seconds" in line]
        stretch = seconds[-1] / rule.steps * rule.checkpoint_every * STRETCHES
        return replace(watched, start_seconds=(begun or time.monotonic()) - begin, stretch_seconds=stretch)


class _Held:
    """A process that does not outlive its block."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *problem: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _kill(training: _Training, kill: Kill, watched: Watched) -> Fault | None:
    """Trains until a kill falls; None if the run comes to its end before."""
    saved, _ = watched.saved()
    before = watched.environment_written()
    with _Held(training.start()) as process:
        place = fault_injection.strike(kill, process, watched, before)
        if place is None:
            training.must_be(process.returncode, 0)
            return None
        fine = STOPPED if kill.signal_number == signal.SIGTERM else (-signal.SIGKILL,)
        training.must_be(process.returncode, *fine)
    return Fault(signal.Signals(kill.signal_number).name, place, _newest_readable(watched, saved))


def _newest_readable(watched: Watched, saved: int) -> int:
    """Returns the step of the newest checkpoint, which must be whole and not older than the one before the kill."""
    step, _ = watched.saved()
    if step >= 0:
        try:
            tensor_file.read(RunFolder(watched.run).checkpoint_path(step))
        except DataError as problem:
            raise GateError(f"a kill left a damaged checkpoint: {problem.message}", "report it as a bug") from None
    if step < saved:
        raise GateError(f"a kill lost the checkpoint of step {saved}; the newest is of {step}", "report it as a bug")
    return step


def _earlier(folder: Path) -> list[Fault]:
    """Returns the kills of an earlier call."""
    try:
        lines = (folder / KILLS).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [Fault(**json.loads(line)) for line in lines]


def _note(folder: Path, faults: list[Fault]) -> None:
    RunFolder(folder).write(KILLS, "".join(json.dumps(asdict(each)) + "\n" for each in faults))


def _compare(whole: Path, killed: Path, steps: int) -> list[Compared]:
    folders = RunFolder(whole), RunFolder(killed)
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
