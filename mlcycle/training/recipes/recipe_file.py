"""Recipe files: YAML to a Recipe and back. Errors name the file, the line and the closest valid key.

Data paths in a recipe are relative to the working directory, not to the recipe. The YAML itself is parsed in
plain_yaml.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

import mlcycle
from mlcycle.errors import RecipeError
from mlcycle.plain_yaml import Dumper, Location, Reading, dotted, inside, parse
from mlcycle.training.recipes.overrides import override_with
from mlcycle.training.recipes.recipe import Recipe


def recipes_folder() -> Path:
    """Returns the folder of the recipes that come with mlcycle: in the installed package, else in the checkout."""
    package = Path(mlcycle.__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def names() -> list[str]:
    """Returns the names of the recipes that come with mlcycle, sorted."""
    return sorted(each.stem for each in recipes_folder().glob("*.yaml"))


def find(recipe: str) -> Path:
    """Returns the file of a recipe given as a path, or as the bare name of one that comes with mlcycle.

    Raises:
        RecipeError: no such recipe.
    """
    if recipe in names():  # first: no file of that name in the current folder replaces it
        return recipes_folder() / f"{recipe}.yaml"
    if Path(recipe).is_file():
        return Path(recipe)
    near = get_close_matches(Path(recipe).stem, names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"the recipes that come with mlcycle: {', '.join(names()) or 'none'}"
    raise RecipeError(f"no such recipe: {recipe}", hint)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe and applies overrides ("schedule.steps=10", values in YAML).

    Raises:
        RecipeError: the first error; its hint gives the number of others.
    """
    recipe, problems = read(path, overrides)
    if recipe is None:
        first = problems[0]
        more = f"{len(problems) - 1} more: mlcycle train recipes check {path}" if len(problems) > 1 else ""
        raise RecipeError(first.message, "; ".join(filter(None, (first.hint, more))))
    return recipe


def read(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe | None, list[RecipeError]]:
    """Reads a recipe; returns it, or None and all its errors."""
    try:
        reading = _read_file(Path(path))
        for override in overrides:
            override_with(reading, override)
    except RecipeError as problem:
        return None, [problem]
    try:
        # Through JSON, so that strict validation accepts lists as tuples.
        return Recipe.model_validate_json(json.dumps(reading.data)), []
    except ValidationError as invalid:
        return None, [_as_recipe_error(dict(each), reading) for each in invalid.errors()]


def dump(recipe: Recipe) -> str:
    """Returns YAML that `load` reads back to an equal recipe; all values are written, including defaults."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def _read_file(path: Path) -> Reading:
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(f"no such recipe: {path}", "list them: mlcycle train recipes list") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is not text in UTF-8", "a recipe is a YAML file") from None
    except OSError as problem:
        raise RecipeError(f"{path} cannot be read: {problem.strerror}") from None
    reading = parse(text, str(path), RecipeError)
    if reading.data is None:
        raise RecipeError(f"{path} is empty", "start from a copy: mlcycle train recipes copy demo")
    if not isinstance(reading.data, dict):
        raise RecipeError(f"{path}:1: a recipe is a mapping of keys to values", "start with: name: my-model")
    return reading


_WORDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a word or text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
    "model_type": "must be a section with keys of its own",
    "string_pattern_mismatch": "must match {pattern}",
}


def _as_recipe_error(error: dict[str, Any], reading: Reading) -> RecipeError:
    location: Location = tuple(error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    place = reading.origin(location)
    key, name = str(location[-1]) if location else "", dotted(location)
    if kind == "extra_forbidden":
        return _unknown_key(location, place)
    if kind == "missing" and isinstance(location[-1], int):
        return RecipeError(f"{place}: {dotted(location[:-1])} must hold more values than {location[-1]}")
    if kind == "missing":
        return RecipeError(f"{place}: '{key}' is missing{inside(location[:-1])}")
    if kind == "value_error":
        return RecipeError(f"{place}: {name or 'the recipe'}: {context['error']}")
    numbers = {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}
    words = _WORDS.get(kind, error["msg"][:1].lower() + error["msg"][1:]).format(**numbers)
    given = error["input"]
    shown = f", not {json.dumps(given)}" if isinstance(given, bool | int | float | str | None) else ""
    return RecipeError(f"{place}: {name} {words}{shown}", _hint(kind, given))


def _hint(kind: str, given: Any) -> str:
    if kind == "string_pattern_mismatch":
        return "small letters, digits and hyphens, for example my-faces"
    if kind == "bool_type" and isinstance(given, str):
        return {"yes": "write true", "on": "write true", "no": "write false", "off": "write false"}.get(
            given.lower(), ""
        )
    return ""


def _unknown_key(location: Location, place: str) -> RecipeError:
    section, key = location[:-1], str(location[-1])
    valid = list(_model_at(section).model_fields)
    near = get_close_matches(key, valid, n=1)
    hint = f"did you mean {near[0]}?" if near else f"valid keys{inside(section)}: {', '.join(valid)}"
    return RecipeError(f"{place}: unknown key '{key}'{inside(section)}", hint)


def _model_at(location: Location) -> type[BaseModel]:
    model: type[BaseModel] = Recipe
    for step in location:
        if isinstance(step, str):
            model = _model_in(model.model_fields[step].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
