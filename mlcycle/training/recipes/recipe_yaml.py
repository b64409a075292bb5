"""YAML with origins: plain data and, for each part, the file and line or the override that it comes from.

The YAML is read without its surprises: only true and false are booleans ("no" and "on" are strings), 1e-3 is a number,
010 is ten, dates are strings. Duplicate keys, tags, aliases, and numbers out of the range of floats are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from mlcycle.errors import RecipeError

Location = tuple[str | int, ...]

_SCALARS: dict[str, re.Pattern[str]] = {
    "tag:yaml.org,2002:null": re.compile(r"^(?:~|null|)$"),
    "tag:yaml.org,2002:bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    "tag:yaml.org,2002:int": re.compile(r"^[-+]?[0-9][0-9_]*$"),
    "tag:yaml.org,2002:float": re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
    ),
}


class Loader(yaml.SafeLoader):
    """Recognises null, booleans, integers and floats; all other plain scalars are strings."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own way of declaring it)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # A few lines of nested aliases could exhaust the memory; a recipe needs none.
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem="aliases are not supported", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class Dumper(yaml.SafeDumper):
    """Quotes strings that this reader, or another one, would read as a number or a boolean."""


for _tag, _pattern in _SCALARS.items():
    Loader.add_implicit_resolver(_tag, _pattern, None)
    Dumper.add_implicit_resolver(_tag, _pattern, None)


@dataclass(slots=True)
class Reading:
    """Plain data, and the origin of each part: "recipes/demo.yaml:12", or "override 'schedule.steps=0'"."""

    data: Any
    origins: dict[Location, str] = field(default_factory=dict)

    def origin(self, location: Location) -> str:
        """Returns the origin of a part, or of the nearest part that encloses it."""
        while location not in self.origins and location:
            location = location[:-1]
        return self.origins.get(location, "recipe")


def parse(text: str, where: str, *, numbered: bool) -> Reading:
    """Reads YAML; `where` names it in errors and origins, followed by the line if `numbered`.

    Raises:
        RecipeError: not YAML, or it uses a refused feature.
    """
    try:
        node = yaml.compose(text, Loader=Loader)
        reading = Reading(None)
        reading.data = None if node is None else _build(node, (), _Source(where, numbered, reading.origins))
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        place = f"{where}:{mark.line + 1}" if numbered and mark else where
        raise RecipeError(f"{place}: not YAML: {problem.problem}", "check indentation, colons and quotes") from None
    except yaml.YAMLError:
        raise RecipeError(f"{where}: not YAML: it contains invalid characters") from None
    except RecursionError:
        raise RecipeError(f"{where}: nested too deeply") from None
    return reading


@dataclass(frozen=True, slots=True)
class _Source:
    where: str
    numbered: bool
    origins: dict[Location, str]

    def place(self, node: yaml.Node) -> str:
        return f"{self.where}:{node.start_mark.line + 1}" if self.numbered else self.where


def _build(node: yaml.Node, location: Location, source: _Source) -> Any:
    source.origins[location] = source.place(node)
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, location, source)
    if isinstance(node, yaml.SequenceNode):
        return [_build(each, (*location, number), source) for number, each in enumerate(node.value)]
    return _build_scalar(node, source)


def _build_mapping(node: yaml.MappingNode, location: Location, source: _Source) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise RecipeError(f"{source.place(key)}: a key must be a string")
        if key.value in built:
            raise RecipeError(f"{source.place(key)}: duplicate key '{key.value}'{inside(location)}", "keep one")
        built[key.value] = _build(value, (*location, key.value), source)
        source.origins[(*location, key.value)] = source.place(key)
    return built


def _build_scalar(node: yaml.Node, source: _Source) -> Any:
    text, tag = node.value, node.tag.rpartition(":")[2]
    try:
        if tag in ("int", "float"):
            number = int(text.replace("_", "")) if tag == "int" else float(text.replace("_", ""))
            if abs(number) > 1e300:
                raise ValueError
            return number
    except ValueError:
        raise RecipeError(f"{source.place(node)}: the number '{text}' is out of range") from None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "null":
        return None
    if tag == "str":
        return text
    raise RecipeError(f"{source.place(node)}: the tag {node.tag} is not supported", "write the plain value")


def override_with(reading: Reading, override: str) -> None:
    """Applies one override "key.sub=value"; the value is YAML, and a number in the path is a list index from 0.

    Raises:
        RecipeError: the override cannot be parsed, or its path leads into a value.
    """
    path, equals, text = override.partition("=")
    where = f"override '{override}'"
    if not equals or not all(path.split(".")):
        raise RecipeError(f"{where} cannot be parsed", "write KEY.SUB=VALUE, for example schedule.steps=1000")
    value = parse(text, where, numbered=False) if text.strip() else Reading("")
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


def inside(location: Location) -> str:
    """Returns " in schedule" for a key of that section, and "" for a key at the top level."""
    return f" in {dotted(location)}" if location else ""


def dotted(location: Location) -> str:
    """Returns a location as an override writes it: "data.train.0"."""
    return ".".join(map(str, location))
