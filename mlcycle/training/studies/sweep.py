"""The conductor of `mlcycle train sweep`: all settings of a recipe trained, one by one. Read it top to bottom.

Each training is a process of its own, the command that a user would type. Which are done, and how they
ended, stands in the sweep's folder, so that it can be left at any time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mlcycle.errors import Interrupted
from mlcycle.training.data.training_data import load_training_data
from mlcycle.training.distributed.device import must_be_there
from mlcycle.training.recipes.recipe import Data
from mlcycle.training.reports.report_facts import duration
from mlcycle.training.run.last_log_lines import last_log_lines
from mlcycle.training.run.run_folder import RECIPE, RunFolder
from mlcycle.training.stopping import StopRequest
from mlcycle.training.studies import sweep_table
from mlcycle.training.studies.sweep_folder import CSV, FAILED, FINISHED, NEW, PAGE, STOPPED, Run, SweepFolder
from mlcycle.training.studies.sweep_grid import Setting
from mlcycle.training.studies.sweep_page import render

# Seconds between two looks at how far a training is.
LOOK_EVERY = 0.2
# Seconds that a training may take to make a step and save itself.
PATIENCE = 60.0
# `python -m mlcycle`, which saves itself and ends when the sweep is killed.
TRAINING = """
from mlcycle.training.stopping import stop_with_the_parent
stop_with_the_parent()
from mlcycle.cli import main
main()
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How a sweep is to be trained and told of.

    Attributes:
        where: the options of `mlcycle train` that say where to compute.
        retry_failed: whether runs that failed before are gone on with.
        tell: told what happens, a line each.
        advance: told of steps that were made.
        again: the command that goes on with the sweep.
    """

    where: Sequence[str]
    retry_failed: bool
    tell: Callable[[str], None]
    advance: Callable[[int], None]
    again: str


def still_to_do(runs: Sequence[Run], *, retry_failed: bool) -> list[Run]:
    """Returns the runs that a sweep would train."""
    done = (FINISHED,) if retry_failed else (FINISHED, FAILED)
    return [each for each in runs if each.state not in done]


def must_be_possible(
    settings: Sequence[Setting], folder: SweepFolder, retry_failed: bool, device: str, devices: int
) -> None:
    """Finds out, before anything is trained or written, what would end one run after the other.

    Raises:
        DeviceError, DataError: the device, or the data of a run that is still to do, is not there.
    """
    runs = [folder.look(each.name) for each in settings]
    todo = {each.name for each in still_to_do(runs, retry_failed=retry_failed)}
    if todo:
        must_be_there(device, devices)
    read: list[Data] = []
    for data in (each.recipe.data for each in settings if each.name in todo):
        if data not in read:
            load_training_data(data)
            read.append(data)


def sweep(settings: Sequence[Setting], folder: SweepFolder, way: Way) -> None:
    """Trains what is still to do of some settings, and writes the sweep's table and page after each run.

    A run that fails is noted, and the next one begins.

    Raises:
        InputError: the folder holds another sweep, or another process sweeps there.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the run under way was saved.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.own.locked(), StopRequest() as stop:
        folder.check(settings)
        folder.take(settings)
        todo = still_to_do([folder.look(each.name) for each in settings], retry_failed=way.retry_failed)
        steps = {each.name: each.recipe.schedule.steps for each in settings}
        for number, run in enumerate(todo, 1):
            to_make = sum(steps[each.name] - (each.summary.steps if each.summary else 0) for each in todo[number - 1 :])
            left = time_left(folder.runs(), to_make)
            going_on = "" if run.state == NEW else " (goes on)"
            way.tell(f"run {number} of {len(todo)}: {run.name}{going_on}{left}")
            _train(folder, run, stop, way)
            write(folder)
            ended = folder.look(run.name)
            way.tell(_ended(ended))
            if stop and (number < len(todo) or ended.state != FINISHED):
                raise Interrupted(
                    f"interrupted in run {number} of {len(todo)}; it is saved, {len(todo) - number} more are to come",
                    f"go on with: {way.again}",
                    stop.signal_number,
                )
        write(folder)


def write(folder: SweepFolder) -> None:
    """Writes the table of all runs, and the page; only for who holds the folder."""
    runs = folder.runs()
    folder.own.write(CSV, sweep_table.as_csv(runs, folder.plan.keys))
    folder.own.write(PAGE, render(folder.path.resolve().name, runs, folder.plan.keys))


def time_left(runs: Sequence[Run], steps: int) -> str:
    """Returns about how long so many steps will take, by the mean of what has been trained; nothing before that."""
    ended = [each for each in runs if each.entry.seconds and each.summary and each.summary.steps]
    made = sum(each.summary.steps for each in ended if each.summary)
    return f"; about {duration(sum(each.entry.seconds for each in ended) / made * steps)} left" if made else ""


def _train(folder: SweepFolder, run: Run, stop: StopRequest, way: Way) -> None:
    entry, begun, log = folder.plan.runs[run.name], time.monotonic(), folder.log(run.name)
    before, entry.code, entry.reason = entry.seconds, None, ""
    folder.write_plan()  # should we be killed, it has not failed
    said_before = log.stat().st_size if log.exists() else 0
    _wait_until_free(folder.run(run.name))
    process = _start(folder, run.name, way.where)
    try:
        _wait(process, folder.run(run.name), stop, way.advance)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        entry.code, entry.seconds = process.returncode, round(before + time.monotonic() - begun, 1)
        if entry.code:
            entry.reason, _ = last_log_lines(log, said_before, entry.code)
        folder.write_plan()


def _wait_until_free(run: Path) -> None:
    """A training whose sweep was killed may still be saving itself."""
    if (run / "lock").exists():
        with suppress(Timeout), FileLock(run / "lock", timeout=PATIENCE):
            pass


def _start(folder: SweepFolder, name: str, where: Sequence[str]) -> subprocess.Popen[bytes]:
    run = folder.run(name)
    words = ["--resume", "--out", str(run)]
    if not (run / RECIPE).is_file():
        words = [str(folder.recipe(name).resolve()), "--out", str(run)]
    with folder.log(name).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", TRAINING, "train", *words, *where],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def _wait(process: subprocess.Popen[bytes], run: Path, stop: StopRequest, advance: Callable[[int], None]) -> None:
    """Waits for the end of a training, and hands on to it, once, a signal that came."""
    known, was_told = _steps_made(run), False
    while process.poll() is None:
        if stop and not was_told:
            process.send_signal(stop.signal_number)
            was_told = True
        time.sleep(LOOK_EVERY)
        now = _steps_made(run)
        advance(max(0, now - known))
        known = max(known, now)


def _steps_made(run: Path) -> int:
    return max((entry.get("step", 0) for entry in RunFolder(run).metrics()), default=0)


def _ended(run: Run) -> str:
    code, best = run.entry.code or 0, run.summary.best if run.summary else None
    took = f"after {duration(run.entry.seconds)}"
    if run.state == FAILED:
        return f"  failed {took}, exit code {code}: {sweep_table.shortened(run.entry.reason)}"
    if code in STOPPED or code < 0:
        return f"  stopped {took}: {sweep_table.shortened(run.entry.reason)}"
    return f"  AP50 {best.average_precision_50:.4f} at step {best.step:,}, {took}" if best else f"  ended {took}"
