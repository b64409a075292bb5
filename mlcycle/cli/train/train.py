"""`mlcycle train`: the group and its default command, fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.group import default_group
from mlcycle.cli.train import lr_find, profile, recipes, report, sweep
from mlcycle.cli.train.device import Device, Devices, is_main, is_one_of_several, launch, must_not_be_lost
from mlcycle.errors import UsageError
from mlcycle.extras import extra

DEFAULT_RECIPE = "face-nano"

app = typer.Typer(cls=default_group("fit"))
app.add_typer(recipes.app, name="recipes")
app.command("report")(report.report)
app.command("compare")(report.compare)
app.command("log-mlflow")(report.log_mlflow)


@app.callback()
def train() -> None:
    """Train a detector from a recipe.

    Example:  mlcycle train demo schedule.steps=200
    """


@app.command()
def fit(  # noqa: PLR0913, PLR0917 (an option of a command is a parameter)
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="A file, or the name of a recipe that comes with mlcycle; else face-nano."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values that replace the recipe's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="RUN", help="The run's folder, a new one; runs/NAME if left out.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run; it is named in place of the recipe, or by --out.")
    ] = False,
    device: Annotated[Device, typer.Option("--device", help="Where to compute; auto takes the best and says so.")] = (
        Device.auto
    ),
    devices: Annotated[
        int | None,
        typer.Option("--devices", metavar="N", min=1, help="Train on N devices of this machine, one process for each."),
    ] = None,
    nodes: Annotated[
        str,
        typer.Option("--nodes", metavar="N", help="How many machines train together, as 2, or 1:4 for one to four."),
    ] = "1",
    rendezvous: Annotated[
        str, typer.Option("--rendezvous", metavar="HOST:PORT", help="Where several machines meet: at one of them.")
    ] = "",
    restarts: Annotated[
        int, typer.Option("--restarts", metavar="N", min=0, help="Start all processes anew if one fails, N times.")
    ] = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also keep event files of TensorBoard's, in RUN/tensorboard.")
    ] = False,
    images: Annotated[
        bool,
        typer.Option("--images/--no-images", help="Whether cut-outs of held-out images go into the report."),
    ] = True,
) -> None:
    """Train a detector into a run's folder, which keeps its recipe, figures and checkpoints.

    The folder must be new, or be gone on with by --resume, which takes the recipe that the run was begun with.

    Example:  mlcycle train recipes/demo.yaml schedule.steps=200 --out runs/a

    With --devices, each step's batch is shared out among the devices, so that the same recipe learns the same.

    Example:  mlcycle train --resume runs/a

    Example:  mlcycle train face-nano --devices 4 --out runs/nano
    """
    must_not_be_lost(devices, nodes, rendezvous, restarts)
    if is_one_of_several():
        from mlcycle.training.stopping import stop_with_the_parent

        stop_with_the_parent()  # before torch comes, which takes seconds
    named, values = _sort([*filter(None, [recipe]), *(overrides or [])])
    with extra("train", "mlcycle train"):
        from mlcycle.training import run_setup
        from mlcycle.training.recipes import recipe_file

        if resume:
            chosen, run = run_setup.resumed_run(named or str(out or run_setup.RUNS / DEFAULT_RECIPE), values, out)
            _say_once(f"going on with {run}")
        else:
            if named is None:
                _say_once(f"no recipe given: training with {recipe_file.find(DEFAULT_RECIPE)}")
            is_shared = bool(rendezvous) or is_one_of_several()
            chosen, run = run_setup.new_run(named or DEFAULT_RECIPE, values, out, is_shared=is_shared)
        # torch takes seconds to come: a recipe that is wrong has been refused before.
        from mlcycle.training.distributed import failure
        from mlcycle.training.fit import fit as train_detector
        from mlcycle.training.run.run_folder import RunOptions
    if tensorboard:
        with extra("tensorboard", "mlcycle train --tensorboard"):
            import tensorboardX  # noqa: F401  (better found missing now than when the run has begun)
    if devices is not None:
        what = ["--resume", str(run)] if resume else [*filter(None, [named]), *values, "--out", str(run)]
        more = [*(["--tensorboard"] if tensorboard else []), *([] if images else ["--no-images"])]
        launch([*what, *more], run, Devices(devices, device, nodes, rendezvous, restarts))
        return
    with failure.recorded():
        options = RunOptions(tensorboard, images)
        train_detector(chosen, run, device=device.value, resume=resume, quiet=console.is_quiet(), options=options)
    if is_main():
        console.say(f"the report: {run / 'report.html'}")
        console.data(str(run))
        console.say(f"next: mlcycle freeze {run}")


app.command("sweep")(sweep.sweep)
app.command("find-rate")(lr_find.find_rate)
app.command("profile")(profile.profile)


def _sort(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Tells a recipe or run from overrides: those have a "=", and before it no "/", as paths of a sweep's runs do."""
    overrides = [each for each in arguments if "=" in each and "/" not in each.partition("=")[0]]
    named = [each for each in arguments if each not in overrides]
    if len(named) > 1:
        raise UsageError(f"one recipe at a time, not {' and '.join(named)}", "write overrides as KEY=VALUE")
    return (named[0] if named else None), overrides


def _say_once(text: str) -> None:
    """Says something that whoever started several processes has said already."""
    if not is_one_of_several():
        console.say(text)
