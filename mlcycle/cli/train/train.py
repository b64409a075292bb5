"""`mlcycle train`: the command group and its default command, fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mlcycle.cli import console
from mlcycle.cli.group import default_group
from mlcycle.cli.train import average, lr_find, profile, recipes, report, sweep
from mlcycle.cli.train.device import Device, Devices, is_main, is_one_of_several, launch, must_not_be_lost
from mlcycle.cli.train.options import (
    DeviceOption,
    DevicesOption,
    ImagesOption,
    NodesOption,
    OverridesArgument,
    RecipeOrRun,
    RendezvousOption,
    RestartsOption,
    ResumeOption,
    RunOption,
    TensorboardOption,
)
from mlcycle.errors import UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.training.recipes.recipe import Recipe

app = typer.Typer(cls=default_group("fit"))


@app.callback()
def train() -> None:
    """Train a detector from a recipe.

    Example:  mlcycle train demo schedule.steps=200
    """


@app.command()
def fit(  # noqa: PLR0913, PLR0917 (an option of a command is a parameter)
    recipe: RecipeOrRun = None,
    overrides: OverridesArgument = None,
    out: RunOption = None,
    resume: ResumeOption = False,
    device: DeviceOption = Device.auto,
    devices: DevicesOption = None,
    nodes: NodesOption = "1",
    rendezvous: RendezvousOption = "",
    restarts: RestartsOption = 0,
    tensorboard: TensorboardOption = False,
    images: ImagesOption = True,
) -> None:
    """Train a detector from a recipe into a run folder.

    The run folder keeps the recipe, metrics and checkpoints. It must be new, unless --resume continues a run, with the
    recipe that it was started with.

    Example:  mlcycle train recipes/demo.yaml schedule.steps=200 --out runs/a

    With --devices, each step's batch is divided among the devices, so that the result of a recipe does not depend on
    their number.

    Example:  mlcycle train --resume runs/a

    Example:  mlcycle train face-nano --devices 4 --out runs/nano
    """
    must_not_be_lost(devices, nodes, rendezvous, restarts)
    if is_one_of_several():
        from mlcycle.training.stopping import stop_with_the_parent

        stop_with_the_parent()  # before torch is imported, which takes seconds
    named, values = _sort([*filter(None, [recipe]), *(overrides or [])])
    with extra("train", "mlcycle train"):
        chosen, run = _recipe_and_run(named, values, out, resume=resume, is_shared=bool(rendezvous))
        # Importing torch takes seconds, so a wrong recipe is refused before.
        from mlcycle.training.distributed import failure
        from mlcycle.training.fit import fit as train_detector
        from mlcycle.training.run.run_folder import REPORT, RunOptions
    if tensorboard:
        with extra("tensorboard", "mlcycle train --tensorboard"):
            import tensorboardX  # noqa: F401  (a missing package should be reported before the run starts)
    if devices is not None:
        words = ["--resume", str(run)] if resume else [*filter(None, [named]), *values, "--out", str(run)]
        more = [*(["--tensorboard"] if tensorboard else []), *([] if images else ["--no-images"])]
        launch([*words, *more], run, Devices(devices, device, nodes, rendezvous, restarts))
        return
    with failure.recorded():
        options = RunOptions(tensorboard, images)
        train_detector(chosen, run, device=device.value, resume=resume, quiet=console.is_quiet(), options=options)
    if is_main():
        console.say(f"report: {run / REPORT}")
        console.data(str(run))
        console.say(f"next: mlcycle freeze {run}")


app.command("average")(average.average)
app.command("sweep")(sweep.sweep)
app.command("lr-find")(lr_find.lr_find)
app.command("profile")(profile.profile)
app.command("report")(report.report)
app.command("compare")(report.compare)
app.command("log-mlflow")(report.log_mlflow)
app.add_typer(recipes.app, name="recipes")


def _sort(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Separates the recipe or run from overrides, which have a "=" with no "/" before it (a sweep's runs have one)."""
    overrides = [each for each in arguments if "=" in each and "/" not in each.partition("=")[0]]
    named = [each for each in arguments if each not in overrides]
    if len(named) > 1:
        raise UsageError(f"train takes one recipe, not {' and '.join(named)}", "write overrides as KEY=VALUE")
    return (named[0] if named else None), overrides


def _recipe_and_run(
    named: str | None, values: Sequence[str], out: Path | None, *, resume: bool, is_shared: bool
) -> tuple[Recipe, Path]:
    from mlcycle.training import run_setup

    if not resume and named is None:
        raise UsageError("train needs a recipe", "list them: mlcycle train recipes list; then: mlcycle train NAME")
    if named is None and out is None:
        raise UsageError("--resume needs a run", run_setup.PASS_A_RUN)
    if not resume:
        return run_setup.new_run(str(named), values, out, is_shared=is_shared or is_one_of_several())
    recipe, run = run_setup.resumed_run(named or str(out), values, out)
    _say_once(f"resuming {run}")
    return recipe, run


def _say_once(text: str) -> None:
    """Prints a message, unless the launcher of several processes has printed it already."""
    if not is_one_of_several():
        console.say(text)
