"""The settings of a sweep: overrides with lists of values, and every combination of these as a recipe.

A list in brackets is swept, unless the recipe's key is itself a list (augment.zoom, data.train): then it is a single
value, and a list of lists is swept.
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
from mlcycle.plain_yaml import parse
from mlcycle.training.recipes import recipe_file
from mlcycle.training.recipes.recipe import Recipe

SEED = "seed"
# Characters of a setting's name; a file name has at most 255 bytes, including the suffix.
LONGEST = 180
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")


@dataclass(frozen=True, slots=True)
class SweptKey:
    """A key of the recipe, as an override names it, and its values."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One combination: a name that is valid for a folder, its value for each swept key, and its recipe."""

    name: str
    values: dict[str, Any]
    recipe: Recipe


def read(overrides: Sequence[str]) -> tuple[list[str], list[SweptKey]]:
    """Separates overrides that hold for all runs from swept keys.

    Raises:
        RecipeError: an override cannot be parsed, has no values, or is swept and given twice.
    """
    plain, swept = [], []
    for override in overrides:
        key, equals, text = override.partition("=")
        where = f"override '{override}'"
        if not equals:
            raise RecipeError(f"{where} cannot be parsed", "write KEY.SUB=VALUE, for example schedule.steps=1000")
        value = parse(text, where, RecipeError, numbered=False).data
        if not isinstance(value, list) or (_is_list(key) and not _is_list_of_lists(value)):
            plain.append(override)
            continue
        if not value:
            raise RecipeError(f"{where}: the list of values is empty", f"{key}=[a,b]")
        swept.append(SweptKey(key.strip(), tuple(value)))
    given = [each.partition("=")[0].strip() for each in plain] + [each.key for each in swept]
    for each in swept:
        if given.count(each.key) > 1:
            raise RecipeError(f"{each.key} is swept and given twice", "keep one of them")
    return plain, swept


def with_seeds(swept: Sequence[SweptKey], first: int, count: int) -> list[SweptKey]:
    """Adds the seeds `first`, `first` + 1 …, `count` of them.

    Raises:
        RecipeError: seeds are already swept.
    """
    if any(each.key == SEED for each in swept):
        raise RecipeError("seeds are given twice", "leave out --seeds or seed=[…]")
    return [*swept, SweptKey(SEED, tuple(range(first, first + count)))]


def settings(
    path: Path, overrides: Sequence[str], swept: Sequence[SweptKey], sample: tuple[int, int] | None = None
) -> list[Setting]:
    """Returns all combinations as recipes. The last key changes fastest and seeds slowest: every setting is trained
    once before the second seed starts.

    Args:
        path: the recipe's file.
        overrides: those that hold for all.
        sample: the number of combinations to draw at random, not counting seeds, and the random seed; a larger draw
            of the same seed contains the smaller. None takes all.

    Raises:
        RecipeError: one of them is not a valid recipe, or two are the same.
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
    # Values as the recipe holds them, so that 2 and 2.0 have the same name.
    resolved = {key: _at(recipe.model_dump(mode="json"), key, value) for key, value in values.items()}
    return Setting(name_of(resolved), resolved, recipe)


def _must_differ(found: Sequence[Setting]) -> None:
    seen: dict[str, str] = {}
    for each in found:
        text = recipe_file.dump(each.recipe)
        if text in seen:
            raise RecipeError(f"two runs of the sweep have the same recipe: {seen[text]} and {each.name}", "keep one")
        seen[text] = each.name


def name_of(values: dict[str, Any]) -> str:
    """Returns "schedule.learning_rate=0.002,seed=1": the name of a setting, and of its folder.

    Characters that some file systems do not allow are replaced; a digest then keeps the name unique.
    """
    name = ",".join(f"{key}={value_text(value)}" for key, value in values.items())
    safe = _UNSAFE.sub("_", name)
    if safe == name and len(name) <= LONGEST:
        return name
    exact = json.dumps(values, sort_keys=True)
    return f"{safe[:LONGEST]}-{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def value_text(value: Any) -> str:
    """Returns a value as short text: 0.002, 0.25-1.5 (of a list), muon."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        return "-".join(map(value_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_yaml(value: Any) -> str:
    if isinstance(value, str) and value and parse(value, "", RecipeError, numbered=False).data == value:
        return value  # as typed, for error messages
    return json.dumps(value, ensure_ascii=False)


def _at(data: Any, key: str, given: Any) -> Any:
    """Returns the value of a key if it is a single value or a list of values; for a section, `given`."""
    for step in key.split("."):
        data = data[int(step)] if isinstance(data, list) else data[step]
    is_section = isinstance(data, dict) or (isinstance(data, list) and any(isinstance(each, dict) for each in data))
    return given if is_section else data


def _is_list_of_lists(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(each, list) for each in value)


def _is_list(key: str) -> bool:
    """Returns whether the recipe's key is a list; False for an unknown key."""
    annotations: list[Any] = [Recipe]
    for step in key.strip().split("."):
        annotations = [inner for each in annotations for inner in _inside(each, step)]
    return any(get_origin(each) is tuple for each in annotations)


def _inside(annotation: Any, step: str) -> Iterator[Any]:
    """Yields the annotations that a step of a key leads to."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if step in annotation.model_fields:
            yield from _alternatives(annotation.model_fields[step].annotation)
    elif get_origin(annotation) is tuple:
        yield from _alternatives(get_args(annotation)[0])


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yields the types that an annotation allows, without pydantic's metadata."""
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    elif hasattr(annotation, "__metadata__"):
        yield from _alternatives(get_args(annotation)[0])
    else:
        yield annotation
