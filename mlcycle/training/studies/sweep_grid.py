"""The settings of a sweep: overrides whose values are lists, and every combination of these as a recipe.

A list in brackets is swept over, unless the recipe's key is itself a list (augment.zoom, data.train): then it is that
key's one value, and a list of lists is swept over.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from mlcycle.errors import RecipeError
from mlcycle.training.recipes import recipe_file
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.recipes.recipe_yaml import parse

SEED = "seed"
# Of a setting's name, in characters; a file's name may have 255 bytes, of which its recipe's needs some.
LONGEST = 180
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")


@dataclass(frozen=True, slots=True)
class Swept:
    """A key of the recipe, as an override names it, and the values that it takes by turns."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One combination: a name that is fit for a folder, its value for each key that is swept over, and its recipe."""

    name: str
    values: dict[str, Any]
    recipe: Recipe


def read(overrides: Sequence[str]) -> tuple[list[str], list[Swept]]:
    """Tells overrides that hold for all runs from those that are swept over.

    Raises:
        RecipeError: one is not understood, has no values, or is swept over and given twice.
    """
    plain, swept = [], []
    for override in overrides:
        key, equals, text = override.partition("=")
        where = f"override '{override}'"
        if not equals:
            raise RecipeError(f"{where} is not understood", "write KEY.SUB=VALUE, for example schedule.steps=1000")
        value = parse(text, where, numbered=False).data
        if not isinstance(value, list) or (_is_list(key) and not _is_list_of_lists(value)):
            plain.append(override)
            continue
        if not value:
            raise RecipeError(f"{where}: there is nothing between the brackets to sweep over", f"{key}=[a,b]")
        swept.append(Swept(key.strip(), tuple(value)))
    given = [each.partition("=")[0].strip() for each in plain] + [each.key for each in swept]
    for each in swept:
        if given.count(each.key) > 1:
            raise RecipeError(f"{each.key} is swept over and stands twice", "keep one of them")
    return plain, swept


def with_seeds(swept: Sequence[Swept], first: int, count: int) -> list[Swept]:
    """Adds the seeds `first`, `first` + 1 …, `count` of them.

    Raises:
        RecipeError: seeds are swept over already.
    """
    if any(each.key == SEED for each in swept):
        raise RecipeError("seeds are given twice", "leave out --seeds or seed=[…]")
    return [*swept, Swept(SEED, tuple(range(first, first + count)))]


def settings(
    path: Path, overrides: Sequence[str], swept: Sequence[Swept], sample: tuple[int, int] | None = None
) -> list[Setting]:
    """Returns all combinations as recipes, the last key changing first, but seeds last of all: every setting has been
    trained once before the second seed begins.

    Args:
        path: the recipe's file.
        overrides: those that hold for all.
        sample: how many combinations to take by chance, seeds not counted, and the number that chooses them; more of
            one number hold all that fewer of it hold. None takes all.

    Raises:
        RecipeError: one of them is no recipe, or two are the same one.
    """
    others = [each for each in swept if each.key != SEED]
    combinations = list(itertools.product(*(each.values for each in others)))
    if sample:
        count, number = sample
        random.Random(number).shuffle(combinations)
        combinations = combinations[:count]
    seeds = next((each.values for each in swept if each.key == SEED), None)
    found = []
    for seed in seeds or [None]:
        for combination in combinations:
            values = dict(zip([each.key for each in others], combination, strict=True))
            if seeds:
                values[SEED] = seed
            found.append(_setting(path, overrides, values))
    _must_differ(found)
    return found


def _setting(path: Path, overrides: Sequence[str], values: dict[str, Any]) -> Setting:
    own = [f"{key}={_as_yaml(value)}" for key, value in values.items()]
    recipe = recipe_file.load(path, [*overrides, *own])
    # As the recipe has them, so that 2 and 2.0 have one name.
    told = {key: _at(recipe.model_dump(mode="json"), key, value) for key, value in values.items()}
    return Setting(name_of(told), told, recipe)


def _must_differ(found: Sequence[Setting]) -> None:
    seen: dict[str, str] = {}
    for each in found:
        text = recipe_file.dump(each.recipe)
        if text in seen:
            raise RecipeError(f"two runs of the sweep have the same recipe: {seen[text]} and {each.name}", "keep one")
        seen[text] = each.name


def name_of(values: dict[str, Any]) -> str:
    """Returns "schedule.learning_rate=0.002,seed=1": the name of a setting, and of its folder.

    What cannot stand in a file's name on every system is left out, and a digest of it all makes up for that.
    """
    name = ",".join(f"{key}={in_words(value)}" for key, value in values.items())
    safe = _UNSAFE.sub("_", name)
    if safe == name and len(name) <= LONGEST:
        return name
    exact = json.dumps(values, sort_keys=True)
    return f"{safe[:LONGEST]}-{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def in_words(value: Any) -> str:
    """Returns a value as short as it can be read: 0.002, 0.25-1.5 (of a list), muon."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        return "-".join(map(in_words, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_yaml(value: Any) -> str:
    if isinstance(value, str) and value and parse(value, "", numbered=False).data == value:
        return value  # as it was typed, for the errors
    return json.dumps(value, ensure_ascii=False)


def _at(data: Any, key: str, given: Any) -> Any:
    """Returns the value of a key, if it is one value or a list of values; of a section, what was given."""
    for step in key.split("."):
        data = data[int(step)] if isinstance(data, list) else data[step]
    is_section = isinstance(data, dict) or (isinstance(data, list) and any(isinstance(each, dict) for each in data))
    return given if is_section else data


def _is_list_of_lists(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(each, list) for each in value)


def _is_list(key: str) -> bool:
    """Tells whether the recipe has a list under this key; of one that it has not, nothing is known."""
    annotations: list[Any] = [Recipe]
    for step in key.strip().split("."):
        annotations = [inner for each in annotations for inner in _inside(each, step)]
    return any(get_origin(each) is tuple for each in annotations)


def _inside(annotation: Any, step: str) -> Iterator[Any]:
    """Yields what may stand under a step of a key."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if step in annotation.model_fields:
            yield from _alternatives(annotation.model_fields[step].annotation)
    elif get_origin(annotation) is tuple:
        yield from _alternatives(get_args(annotation)[0])


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yields the types that an annotation allows, without what pydantic is told of them."""
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    elif hasattr(annotation, "__metadata__"):
        yield from _alternatives(get_args(annotation)[0])
    else:
        yield annotation
