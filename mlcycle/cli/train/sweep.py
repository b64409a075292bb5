"""`mlcycle train sweep`: trains a recipe with every combination of some values."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.cli.train.device import Device
from mlcycle.cli.train.options import (
    ChoiceOption,
    DeviceOption,
    DevicesPerRunOption,
    DryRunOption,
    RandomOption,
    RetryOption,
    SeedsOption,
    SweepArgument,
    SweepOption,
    SweptArgument,
    TableOption,
)
from mlcycle.counted import counted
from mlcycle.errors import InputError, MlcycleError, UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.training.studies.sweep_folder import SweepFolder
    from mlcycle.training.studies.sweep_grid import Setting

SWEEPS = Path("sweeps")
# From how many runs on a warning is printed, and how many runs are listed.
MANY, LISTED = 50, 24


def sweep(  # noqa: PLR0913, PLR0917 (an option of a command is a parameter)
    recipe: SweepArgument,
    overrides: SweptArgument = None,
    out: SweepOption = None,
    seeds: SeedsOption = None,
    random: RandomOption = None,
    choose: ChoiceOption = 0,
    device: DeviceOption = Device.auto,
    devices: DevicesPerRunOption = None,
    retry_failed: RetryOption = False,
    dry_run: DryRunOption = False,
    table: TableOption = False,
) -> None:
    """Train a recipe with every combination of some values.

    A value in brackets is swept over; quote it if your shell expands brackets. If the recipe's value is itself a list,
    give a list of lists: augment.zoom=[[0.25,1.5],[0.5,1.5]]. All combinations are checked before the first is trained.

    Runs are trained one after another, each in an ordinary run folder below DIR. The same command resumes an
    interrupted sweep; other values of the same keys are added to it. A failed run does not end the sweep, but the exit
    code is then 1. The table of results is printed, and written to sweep.csv and sweep.html in DIR.

    Example:  mlcycle train sweep demo schedule.steps=600 schedule.learning_rate=[0.002,0.004] --seeds 3

    Example:  mlcycle train sweep face-nano model.width=[8,16,24] augment.mosaic=[0,0.3] --random 4 --out sweeps/width

    Example:  mlcycle train sweep --table sweeps/demo
    """
    with extra("train", "mlcycle train sweep"):
        from mlcycle.training.studies.sweep import check_requirements
        from mlcycle.training.studies.sweep_folder import SweepFolder
    if table:
        _show(SweepFolder(_folder_alone(recipe, overrides, out)))
        return
    settings = _settings(recipe, overrides or [], seeds, (random, choose) if random else None)
    folder = SweepFolder(out or SWEEPS / settings[0].recipe.name)
    folder.check(settings)
    check_requirements(settings, folder, retry_failed, device.value, devices or 1)
    _tell_plan(settings, folder, retry_failed)
    if not dry_run:
        where = [] if device is Device.auto else ["--device", device.value]
        where += [] if devices is None else ["--devices", str(devices)]
        again = _again([recipe, *(overrides or []), *where], folder.path, seeds, (random, choose))
        _train(settings, folder, where, retry_failed, again)


def _folder_alone(named: str, overrides: Sequence[str] | None, out: Path | None) -> Path:
    if overrides or out:
        raise UsageError("--table takes only the sweep's folder", f"mlcycle train sweep --table {named}")
    return Path(named)


def _settings(
    recipe: str, overrides: Sequence[str], seeds: int | None, sample: tuple[int, int] | None
) -> list[Setting]:
    from mlcycle.training.recipes import recipe_file
    from mlcycle.training.studies import sweep_grid

    path = recipe_file.find(recipe)
    plain, swept = sweep_grid.read(overrides)
    if seeds is not None:
        swept = sweep_grid.with_seeds(swept, recipe_file.load(path, plain).seed, seeds)
    if not swept:
        hint = "write KEY=[a,b], or KEY=[[a,b],[c,d]] for a key whose value is a list, or --seeds N"
        raise UsageError("no value to sweep over", hint)
    return sweep_grid.settings(path, plain, swept, sample)


def _tell_plan(settings: Sequence[Setting], folder: SweepFolder, retry_failed: bool) -> None:
    from mlcycle.training.studies.sweep import unfinished

    names = {each.name for each in settings}
    runs = [folder.run_state(each.name) for each in settings]
    todo = {each.name for each in unfinished(runs, retry_failed=retry_failed)}
    others = len([name for name in folder.plan.runs if name not in names])
    console.say(f"{counted(len(settings), 'run')} in {folder.path}, {len(todo)} to train:")
    for each in runs[:LISTED]:
        note = "" if each.state == "new" else f"  {each.state}{'' if each.name in todo else ', kept'}"
        console.say(f"  {each.name}{note}")
    if len(runs) > LISTED:
        console.say(f"  … and {len(runs) - LISTED} more")
    if others:
        console.say(f"{counted(others, 'run')} of other values in {folder.path} kept; also in the table")
    if len(todo) > MANY:
        console.warn(f"{len(todo)} runs are many; --random N tries some of the combinations")
    failed = sum(each.state == "failed" and each.name not in todo for each in runs)
    if failed:
        console.say(f"{counted(failed, 'run')} failed before; --retry-failed resumes them")


def _again(words: Sequence[str], out: Path, seeds: int | None, sample: tuple[int | None, int]) -> str:
    """Returns the command that resumes a sweep."""
    options = [] if seeds is None else ["--seeds", str(seeds)]
    if sample[0] is not None:
        options += ["--random", str(sample[0]), *(["--seed", str(sample[1])] if sample[1] else [])]
    return shlex.join(["mlcycle", "train", "sweep", *words, *options, "--out", str(out)])


def _train(settings: Sequence[Setting], folder: SweepFolder, where: list[str], retry_failed: bool, again: str) -> None:
    from mlcycle.training.studies.sweep import SweepOptions, unfinished
    from mlcycle.training.studies.sweep import sweep as train_all

    runs = [folder.run_state(each.name) for each in settings]
    todo = {each.name for each in unfinished(runs, retry_failed=retry_failed)}
    steps = sum(each.recipe.schedule.steps for each in settings if each.name in todo)
    steps -= sum(each.summary.steps for each in runs if each.name in todo and each.summary)
    with console.progress("steps of the sweep", steps) as advance:
        train_all(settings, folder, SweepOptions(where, retry_failed, console.say, advance, again))
    _tell_table(folder)
    missing = [each for each in map(folder.run_state, (each.name for each in settings)) if each.state != "finished"]
    if missing:
        raise MlcycleError(
            f"{counted(len(missing), 'run')} of {len(settings)} did not finish",
            f"see their logs in {folder.path / 'logs'}; resume them: {again} --retry-failed",
        )


def _show(folder: SweepFolder) -> None:
    from mlcycle.training.studies.sweep import write

    folder.read()
    try:
        with folder.own.locked():
            write(folder)
    except InputError:
        console.say("this sweep is being trained: sweep.csv and sweep.html are as of its last run")
    _tell_table(folder)


def _tell_table(folder: SweepFolder) -> None:
    from mlcycle.training.reports import comparison
    from mlcycle.training.studies import sweep_table
    from mlcycle.training.studies.sweep_folder import CSV, FAILED, PAGE

    runs = folder.runs()
    console.out_console().print(sweep_table.as_table(runs, folder.plan.keys))
    for each in runs:
        if each.state == FAILED:
            reason = sweep_table.shortened(each.entry.reason)
            console.say(f"{each.name} failed with exit code {each.entry.code}: {reason}")
    summaries = [each.summary for each in runs if each.summary]
    if len(summaries) > 1 and not (compared := comparison.compare(summaries)).is_same_data:
        console.warn(comparison.data_note(compared))
    console.say(f"page: {folder.path / PAGE}; table: {folder.path / CSV}")
    started = [next((each for each in row.runs if each.summary), None) for row in sweep_table.rows(runs)]
    if len(best := [each for each in started if each][:2]) == 2:
        both = shlex.join(str(folder.run(each.name)) for each in best)
        console.say(f"compare the best: mlcycle train compare {both}")
