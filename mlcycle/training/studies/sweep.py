"""The conductor of `mlcycle train sweep`: trains all settings of a recipe, one by one. Read it top to bottom.

Each training is a process of its own, running the command that a user would type. The sweep's folder records which have
ended and how, so the sweep can be stopped and resumed at any time.
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

# Seconds between two checks of how far a training is.
POLL_INTERVAL = 0.2
# Seconds that a training may need to finish a step and save its checkpoint.
SAVE_TIMEOUT = 60.0
# `python -m mlcycle`, which saves a checkpoint and exits when the sweep is killed.
TRAINING = """
from mlcycle.training.stopping import stop_with_the_parent
stop_with_the_parent()
from mlcycle.cli import main
main()
"""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Options of a sweep.

    Attributes:
        device_options: the options of `mlcycle train` that choose the device.
        retry_failed: whether to resume runs that failed before.
        say: called with a line of text about each event.
        advance: called with the number of finished steps.
        resume_command: resumes the sweep.
    """

    device_options: Sequence[str]
    retry_failed: bool
    say: Callable[[str], None]
    advance: Callable[[int], None]
    resume_command: str


def unfinished(runs: Sequence[Run], *, retry_failed: bool) -> list[Run]:
    """Returns the runs that a sweep would train."""
    done = (FINISHED,) if retry_failed else (FINISHED, FAILED)
    return [each for each in runs if each.state not in done]


def check_requirements(
    settings: Sequence[Setting], folder: SweepFolder, retry_failed: bool, device: str, devices: int
) -> None:
    """Checks the device and the data before anything is trained or written.

    Raises:
        DeviceError, DataError: the device, or the data of a run that would be trained, does not exist.
    """
    runs = [folder.run_state(each.name) for each in settings]
    todo = {each.name for each in unfinished(runs, retry_failed=retry_failed)}
    if todo:
        must_be_there(device, devices)
    read: list[Data] = []
    for data in (each.recipe.data for each in settings if each.name in todo):
        if data not in read:
            load_training_data(data)
            read.append(data)


def sweep(settings: Sequence[Setting], folder: SweepFolder, options: SweepOptions) -> None:
    """Trains the settings that have not finished, and writes the sweep's table and page after each run.

    A run that fails is recorded, and the next one starts.

    Raises:
        InputError: the folder holds another sweep, or another process trains there.
        Interrupted: SIGINT, SIGTERM or SIGHUP was received; the current run is saved.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.own.locked(), StopRequest() as stop:
        folder.check(settings)
        folder.add(settings)
        todo = unfinished([folder.run_state(each.name) for each in settings], retry_failed=options.retry_failed)
        steps = {each.name: each.recipe.schedule.steps for each in settings}
        for number, run in enumerate(todo, 1):
            remaining = todo[number - 1 :]
            to_make = sum(steps[each.name] - (each.summary.steps if each.summary else 0) for each in remaining)
            left = time_left(folder.runs(), to_make)
            resumed = "" if run.state == NEW else " (resumed)"
            options.say(f"run {number} of {len(todo)}: {run.name}{resumed}{left}")
            _train(folder, run, stop, options)
            write(folder)
            ended = folder.run_state(run.name)
            options.say(_ended(ended))
            if stop and (number < len(todo) or ended.state != FINISHED):
                raise Interrupted(
                    f"interrupted in run {number} of {len(todo)}; it is saved, and {len(todo) - number} are left",
                    f"resume with: {options.resume_command}",
                    stop.signal_number,
                )
        write(folder)


def write(folder: SweepFolder) -> None:
    """Writes the table of all runs and the page. The caller holds the folder's lock."""
    runs = folder.runs()
    folder.own.write(CSV, sweep_table.as_csv(runs, folder.plan.keys))
    folder.own.write(PAGE, render(folder.path.resolve().name, runs, folder.plan.keys))


def time_left(runs: Sequence[Run], steps: int) -> str:
    """Returns the estimated time for `steps` from the mean of past runs; nothing before the first has ended."""
    ended = [each for each in runs if each.entry.seconds and each.summary and each.summary.steps]
    made = sum(each.summary.steps for each in ended if each.summary)
    return f"; about {duration(sum(each.entry.seconds for each in ended) / made * steps)} left" if made else ""


def _train(folder: SweepFolder, run: Run, stop: StopRequest, options: SweepOptions) -> None:
    entry, start, log = folder.plan.runs[run.name], time.monotonic(), folder.log(run.name)
    before, entry.code, entry.reason = entry.seconds, None, ""
    folder.write_plan()  # a sweep that is killed leaves no failed run
    log_start = log.stat().st_size if log.exists() else 0
    _wait_until_free(folder.run(run.name))
    process = _start(folder, run.name, options.device_options)
    try:
        _wait(process, folder.run(run.name), stop, options.advance)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        entry.code, entry.seconds = process.returncode, round(before + time.monotonic() - start, 1)
        if entry.code:
            entry.reason, _ = last_log_lines(log, log_start, entry.code)
        folder.write_plan()


def _wait_until_free(run: Path) -> None:
    """Waits for a training that still saves its checkpoint because its sweep was killed."""
    if (run / "lock").exists():
        with suppress(Timeout), FileLock(run / "lock", timeout=SAVE_TIMEOUT):
            pass


def _start(folder: SweepFolder, name: str, device_options: Sequence[str]) -> subprocess.Popen[bytes]:
    run = folder.run(name)
    words = ["--resume", "--out", str(run)]
    if not (run / RECIPE).is_file():
        words = [str(folder.recipe(name).resolve()), "--out", str(run)]
    with folder.log(name).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", TRAINING, "train", *words, *device_options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def _wait(process: subprocess.Popen[bytes], run: Path, stop: StopRequest, advance: Callable[[int], None]) -> None:
    """Waits for a training to end, and forwards a received signal to it once."""
    known, was_signalled = _steps_made(run), False
    while process.poll() is None:
        if stop and not was_signalled:
            process.send_signal(stop.signal_number)
            was_signalled = True
        time.sleep(POLL_INTERVAL)
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
