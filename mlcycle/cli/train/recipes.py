"""`mlcycle train recipes`: lists, shows, copies and checks recipes.

A recipe that comes with mlcycle starts with a comment: a description, then lines "Command:", "Cost:" and "Score:".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from mlcycle import files
from mlcycle.cli import completions, console
from mlcycle.cli.group import Group
from mlcycle.errors import InputError, RecipeError
from mlcycle.extras import extra

app = typer.Typer(cls=Group)


NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=completions.recipes, help="A recipe's name or file."),
]


@app.callback()
def recipes() -> None:
    """List, show, copy and check recipes.

    Example:  mlcycle train recipes list
    """


@app.command("list")
def list_recipes() -> None:
    """List the recipes that come with mlcycle, with cost and score.

    Example:  mlcycle train recipes list
    """
    from rich.table import Table

    with extra("train", "mlcycle train recipes"):
        from mlcycle.training.recipes import recipe_file

    table = Table("name", "what", "cost", "score", box=None, pad_edge=False, header_style="bold")
    for name in recipe_file.names():
        head = _head(recipe_file.recipes_folder() / f"{name}.yaml")
        table.add_row(name, head["what"], head["cost"], head["score"])
    console.out_console().print(table)


@app.command()
def show(name: NameArgument) -> None:
    """Print a recipe.

    Example:  mlcycle train recipes show demo
    """
    with extra("train", "mlcycle train recipes"):
        from mlcycle.training.recipes import recipe_file

    console.data(_text(recipe_file.find(name)).rstrip("\n"))


@app.command()
def copy(
    name: NameArgument,
    destination: Annotated[
        Path | None, typer.Argument(metavar="DEST", help="A file or a folder. Default: NAME.yaml.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Copy a recipe into a file of your own.

    The recipe is named after the new file, and so are its run and its model file.

    Example:  mlcycle train recipes copy demo my-faces.yaml
    """
    with extra("train", "mlcycle train recipes"):
        from mlcycle.training.recipes import recipe_file

    source = recipe_file.find(name)
    target = destination or Path(source.name)
    target = target / source.name if target.is_dir() else target
    if target.exists() and not overwrite:
        raise InputError(f"{target} already exists", "choose another name, or replace it with --overwrite")
    files.write(target, _renamed(_text(source), target), overwrite=overwrite)
    console.data(str(target))


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Recipe files or names.")],
) -> None:
    """Check recipes without training, and list all errors.

    Exits with 2 if a recipe has an error.

    Example:  mlcycle train recipes check my-faces.yaml
    """
    checked = {file: _problems(file) for file in files}
    for file, problems in checked.items():
        for each in problems:
            console.fail(each.message, each.hint)
        if not problems:
            console.data(f"{file}: fine")
    if any(checked.values()):
        raise typer.Exit(RecipeError.exit_code)


def _problems(file: str) -> list[RecipeError]:
    with extra("train", "mlcycle train recipes"):
        from mlcycle.training.recipes import recipe_file

    try:
        return recipe_file.read(recipe_file.find(file))[1]
    except RecipeError as problem:
        return [problem]


def _renamed(text: str, target: Path) -> str:
    """Returns a recipe's text under the name of its new file, as far as names of recipes allow."""
    name = re.sub("[^a-z0-9]+", "-", target.stem.lower()).strip("-")[:40]
    return re.sub("(?m)^name:[^#\n]*", f"name: {name or 'mine'}", text, count=1)


def _head(path: Path) -> dict[str, str]:
    """Returns the comment at the start of a recipe, up to its first empty line, by section."""
    head: dict[str, list[str]] = {"what": [], "command": [], "cost": [], "score": []}
    current = "what"
    for line in _text(path).splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        if not text:
            break
        key, colon, rest = text.partition(":")
        if colon and key.lower() in head:
            current, text = key.lower(), rest.strip()
        head[current].append(text)
    return {key: " ".join(filter(None, lines)) for key, lines in head.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise RecipeError(f"{path} cannot be read: {problem}") from None
