"""Which recipe a training follows, and in which run folder: a new run, or one that is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlcycle.errors import InputError, RecipeError, UsageError
from mlcycle.training.recipes import recipe_file
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.run.run_folder import RECIPE, RunFolder

RUNS = Path("runs")
NAME_A_RUN = "name the folder of one: mlcycle train --resume runs/NAME"


def new_run(
    named: str, overrides: Sequence[str] = (), out: Path | None = None, *, is_shared: bool = False
) -> tuple[Recipe, Path]:
    """Returns the recipe of a new run, and its folder.

    Args:
        named: a recipe file, or the name of one that comes with mlcycle.
        overrides: as "schedule.steps=10".
        out: the folder; None takes runs/NAME.
        is_shared: whether another process may have begun the run just now; the first process looks then.

    Raises:
        RecipeError: the recipe or an override is wrong.
        InputError: the folder is taken.
    """
    recipe = recipe_file.load(recipe_file.find(named), overrides)
    run = out or RUNS / recipe.name
    if not is_shared and not RunFolder(run).is_new():
        if (run / RECIPE).is_file():
            hint = f"go on with it: mlcycle train --resume {run}; or begin another: --out {run}-2"
            raise InputError(f"{run} is there already", hint)
        raise InputError(f"{run} is there already and holds no run", "choose another folder with --out")
    return recipe, run


def resumed_run(named: str, overrides: Sequence[str] = (), out: Path | None = None) -> tuple[Recipe, Path]:
    """Returns the recipe that a run was begun with, and its folder.

    Args:
        named: the folder, or the recipe that the run was begun with.
        overrides: none, since a run keeps its recipe.
        out: the folder, where a recipe is named.

    Raises:
        UsageError: something is overridden, or the run was begun with another recipe.
        InputError: there is no such run.
    """
    if overrides:
        raise UsageError(
            "a run that is gone on with keeps its recipe, so nothing can be overridden",
            f"leave out {' '.join(overrides)}",
        )
    begun_with = None if Path(named).is_dir() else recipe_file.load(_recipe_of_a_run(named))
    run = out or (RUNS / begun_with.name if begun_with else Path(named))
    own = run / RECIPE
    if not own.is_file():
        raise InputError(f"{run} holds no run to go on with", NAME_A_RUN)
    recipe = recipe_file.load(own)
    if begun_with not in (None, recipe):
        raise UsageError(f"{run} was begun with another recipe than {named}", f"mlcycle train --resume {run}")
    return recipe, run


def _recipe_of_a_run(named: str) -> Path:
    try:
        return recipe_file.find(named)
    except RecipeError:
        raise InputError(f"there is no run {named} to go on with", NAME_A_RUN) from None
