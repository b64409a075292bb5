"""`mlcycle train`: the group and its default command, fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.data import data
from mlcycle.cli.group import default_group
from mlcycle.cli.train import lr_find, profile, recipes, report, sweep
from mlcycle.cli.train.device import Device, Devices, is_first, is_one_of_several, launch, must_not_be_lost
from mlcycle.errors import InputError, RecipeError, UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.training.recipes.recipe import Recipe

DEFAULT_RECIPE = "face-nano"
RUNS = Path("runs")
NAME_A_RUN = "name the folder of one: mlcycle train --resume runs/NAME"

app = typer.Typer(cls=default_group("fit"))
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data")
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
    pictures: Annotated[
        bool,
        typer.Option("--pictures/--no-pictures", help="Whether cut-outs of held-out photographs go into the report."),
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
        chosen, run = _run_to_resume(named, values, out) if resume else _new_run(named, values, out, rendezvous)
        # torch takes seconds to come: a recipe that is wrong has been refused before.
        from mlcycle.training.distributed import failure
        from mlcycle.training.fit import fit as train_detector
        from mlcycle.training.run.run_folder import Beside
    if tensorboard:
        with extra("tensorboard", "mlcycle train --tensorboard"):
            import tensorboardX  # noqa: F401  (better found missing now than when the run has begun)
    if devices is not None:
        what = ["--resume", str(run)] if resume else [*filter(None, [named]), *values, "--out", str(run)]
        more = [*(["--tensorboard"] if tensorboard else []), *([] if pictures else ["--no-pictures"])]
        launch([*what, *more], run, Devices(devices, device, nodes, rendezvous, restarts))
        return
    with failure.told():
        beside = Beside(tensorboard, pictures)
        train_detector(chosen, run, device=device.value, resume=resume, quiet=console.is_quiet(), beside=beside)
    if is_first():
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


def _new_run(named: str | None, overrides: Sequence[str], out: Path | None, rendezvous: str) -> tuple[Recipe, Path]:
    from mlcycle.training.recipes import recipe_file
    from mlcycle.training.run.run_folder import RunFolder

    path = recipe_file.find(named or DEFAULT_RECIPE)
    if named is None and not is_one_of_several():
        console.say(f"no recipe given: training with {path}")
    recipe = recipe_file.load(path, overrides)
    run = out or RUNS / recipe.name
    # Of several processes or machines another one may have begun it just now; the first process looks.
    if not rendezvous and not is_one_of_several() and not RunFolder(run).is_unbegun():
        if (run / "recipe.yaml").is_file():
            hint = f"go on with it: mlcycle train --resume {run}; or begin another: --out {run}-2"
            raise InputError(f"{run} is there already", hint)
        raise InputError(f"{run} is there already and holds no run", "choose another folder with --out")
    return recipe, run


def _run_to_resume(named: str | None, overrides: Sequence[str], out: Path | None) -> tuple[Recipe, Path]:
    from mlcycle.training.recipes import recipe_file

    if overrides:
        raise UsageError(
            "a run that is gone on with keeps its recipe, so nothing can be overridden",
            f"leave out {' '.join(overrides)}",
        )
    begun_with = None
    if named is not None and not Path(named).is_dir():
        begun_with = recipe_file.load(_recipe_of_a_run(named))
    run = out or (
        Path(named) if named and not begun_with else RUNS / (begun_with.name if begun_with else DEFAULT_RECIPE)
    )
    own = run / "recipe.yaml"
    if not own.is_file():
        raise InputError(f"{run} holds no run to go on with", NAME_A_RUN)
    recipe = recipe_file.load(own)
    if begun_with not in (None, recipe):
        raise UsageError(f"{run} was begun with another recipe than {named}", f"mlcycle train --resume {run}")
    if not is_one_of_several():
        console.say(f"going on with {run}")
    return recipe, run


def _recipe_of_a_run(named: str) -> Path:
    from mlcycle.training.recipes import recipe_file

    try:
        return recipe_file.find(named)
    except RecipeError:
        raise InputError(f"there is no run {named} to go on with", NAME_A_RUN) from None
