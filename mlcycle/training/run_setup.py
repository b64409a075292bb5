"""Finds the recipe and the run folder of a training: of a new run, or of one to resume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlcycle.errors import InputError, RecipeError, UsageError
from mlcycle.training.recipes import recipe_file
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.run.run_folder import RECIPE, RunFolder

RUNS = Path("runs")
PASS_A_RUN = "pass a run's folder: mlcycle train --resume runs/NAME"


def new_run(
    named: str, overrides: Sequence[str] = (), out: Path | None = None, *, is_shared: bool = False
) -> tuple[Recipe, Path]:
    """Returns the recipe of a new run, and its folder.

    Args:
        named: a recipe file, or the name of a recipe that comes with mlcycle.
        overrides: such as "schedule.steps=10".
        out: the folder; None means runs/NAME.
        is_shared: whether another process may have started the run just now; then the first process checks the folder.

    Raises:
        RecipeError: the recipe or an override is wrong.
        InputError: the folder exists.
    """
    recipe = recipe_file.load(recipe_file.find(named), overrides)
    run = out or RUNS / recipe.name
    if not is_shared and not RunFolder(run).is_new():
        if (run / RECIPE).is_file():
            hint = f"resume it: mlcycle train --resume {run}; or start another: --out {run}-2"
            raise InputError(f"{run} already exists", hint)
        raise InputError(f"{run} already exists and is not a run folder", "choose another folder with --out")
    return recipe, run


def resumed_run(named: str, overrides: Sequence[str] = (), out: Path | None = None) -> tuple[Recipe, Path]:
    """Returns the recipe that a run was started with, and its folder.

    Args:
        named: the folder, or the recipe that the run was started with.
        overrides: must be empty, because a run keeps its recipe.
        out: the folder, if a recipe is named.

    Raises:
        UsageError: there are overrides, or the run was started with another recipe.
        InputError: no such run.
    """
    if overrides:
        raise UsageError(
            "a resumed run keeps its recipe, so its values cannot be overridden",
            f"leave out {' '.join(overrides)}",
        )
    begun_with = None if Path(named).is_dir() else recipe_file.load(_recipe_of_a_run(named))
    run = out or (RUNS / begun_with.name if begun_with else Path(named))
    own = run / RECIPE
    if not own.is_file():
        raise InputError(f"{run} is not a run folder, so it cannot be resumed", PASS_A_RUN)
    recipe = recipe_file.load(own)
    if begun_with not in (None, recipe):
        raise UsageError(f"{run} was started with another recipe than {named}", f"mlcycle train --resume {run}")
    return recipe, run


def _recipe_of_a_run(named: str) -> Path:
    try:
        return recipe_file.find(named)
    except RecipeError:
        raise InputError(f"no such run: {named}", PASS_A_RUN) from None
