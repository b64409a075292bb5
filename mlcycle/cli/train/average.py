"""`mlcycle train average`: one file of the mean weights of several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import completions, console
from mlcycle.cli.evaluate import check_free
from mlcycle.cli.train.device import Device
from mlcycle.cli.train.options import DeviceOption
from mlcycle.errors import UsageError
from mlcycle.extras import extra


def average(
    weights: Annotated[
        list[str],
        typer.Argument(
            metavar="WEIGHTS...",
            help="Two or more run folders, checkpoints or bundled models' names. One given twice counts twice.",
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            autocompletion=completions.recipes,
            help="Measure the normalisation on the images of this recipe. Default: the recipe of the first run folder.",
        ),
    ] = "",
    device: DeviceOption = Device.auto,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Write the weights to FILE.")] = Path(
        "averaged.safetensors"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Average the weights of runs that started from the same weights.

    The mean of several trainings often finds more on unseen images than each of them, at the cost of one. (Wortsman et
    al., Model soups, 2022.) Networks that started from different random weights cannot be averaged. The statistics of
    the normalisation are measured again on some dozens of batches; nothing else is trained. If the recipe has
    schedule.frozen_normalisation=1, they are averaged too, since the runs kept theirs.

    Example:  mlcycle train average runs/a runs/b --out averaged.safetensors

    Example:  mlcycle train runs/a/recipe.yaml start_from=averaged.safetensors schedule.steps=0 --out runs/averaged
    """
    if len(weights) < 2:
        raise UsageError("average needs two weights or more", "mlcycle train average runs/a runs/b")
    check_free(out, overwrite)
    with extra("train", "mlcycle train average"):
        from mlcycle.training.recipes import recipe_file
        from mlcycle.training.run.run_folder import RECIPE

        # Importing torch takes seconds, so a wrong recipe is refused before.
        chosen = recipe_file.load(recipe_file.find(recipe) if recipe else _first_recipe(weights, RECIPE))
        from mlcycle.training import averaging
    with console.progress("measuring the normalisation", averaging.BATCHES) as advance:
        averaging.average(weights, chosen, out, device.value, advance)
    console.say(f"averaged: {out}")
    console.data(str(out))


def _first_recipe(weights: list[str], name: str) -> Path:
    for each in weights:
        if (found := Path(each) / name).is_file():
            return found
    raise UsageError("average needs a recipe, and no run folder is among the weights", "give one with --recipe")
