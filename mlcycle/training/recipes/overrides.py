"""Overrides of a recipe: "schedule.steps=1000", whose values are YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcycle.errors import RecipeError
from mlcycle.plain_yaml import Location, Reading, dotted, parse


def override_with(reading: Reading, override: str) -> None:
    """Applies one override "key.sub=value"; the value is YAML, and a number in the path is a list index from 0.

    Raises:
        RecipeError: the override cannot be parsed, or its path leads into a value.
    """
    path, equals, text = override.partition("=")
    where = f"override '{override}'"
    if not equals or not all(path.split(".")):
        raise RecipeError(f"{where} cannot be parsed", "write KEY.SUB=VALUE, for example schedule.steps=1000")
    value = parse(text, where, RecipeError, numbered=False) if text.strip() else Reading("")
    location = _put(reading.data, path.split("."), value.data, where)
    for known in [each for each in reading.origins if each[: len(location)] == location]:
        del reading.origins[known]
    reading.origins.update({(*location, *inner): where for inner in [(), *value.origins]})
    for length in range(1, len(location)):  # the sections that it created
        reading.origins.setdefault(location[:length], where)


def _put(data: Any, keys: Sequence[str], value: Any, where: str) -> Location:
    """Sets the value at a path; missing sections are created. Returns the location as pydantic names it."""
    location: Location = ()
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(data, list):
            if not key.isdecimal() or int(key) >= len(data):
                raise RecipeError(
                    f"{where}: {dotted(location)} is a list of {len(data)}, and '{key}' is not an index of it",
                    "count from 0" if data else f"set the whole list: {dotted(location)}=[…]",
                )
            step: str | int = int(key)
        elif isinstance(data, dict):
            step = key
            if not last and data.get(key) is None:
                data[key] = {}
        else:
            raise RecipeError(f"{where}: {dotted(location)} is a value, not a section with a key '{key}'")
        location = (*location, step)
        if last:
            data[step] = value
        else:
            data = data[step]
    return location
