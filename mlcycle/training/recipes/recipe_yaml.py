"""YAML with origins: plain data, and for each part the file and line, or the override, that said it.

The YAML is read as people mean it: true and false are the only truth values ("no" and "on" are words), 1e-3 is a
number, 010 is ten, dates are words. Refused are a key that stands twice, tags, aliases, and numbers beyond floating
point.
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
    """Knows four kinds of plain words: null, truth values and two kinds of numbers; all others are text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own way of declaring it)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # A few lines of aliases of aliases would fill the memory; a recipe needs none.
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem="aliases are not read", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class Dumper(yaml.SafeDumper):
    """Quotes a word that this reader, or another one, would take for a number or a truth value."""


for _tag, _pattern in _SCALARS.items():
    Loader.add_implicit_resolver(_tag, _pattern, None)
    Dumper.add_implicit_resolver(_tag, _pattern, None)


@dataclass(slots=True)
class Reading:
    """Plain data, and where each part of it was said: "recipes/demo.yaml:12", or "override 'schedule.steps=0'"."""

    data: Any
    origins: dict[Location, str] = field(default_factory=dict)

    def origin(self, location: Location) -> str:
        """Returns where the nearest enclosing part was said."""
        while location not in self.origins and location:
            location = location[:-1]
        return self.origins.get(location, "recipe")


def parse(text: str, where: str, *, numbered: bool) -> Reading:
    """Reads YAML; `where` names it in errors and origins, with the line behind it if `numbered`.

    Raises:
        RecipeError: it is no YAML, or of a kind that is refused.
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
        raise RecipeError(f"{where}: not YAML: it holds characters that no text has") from None
    except RecursionError:
        raise RecipeError(f"{where}: nested too deep") from None
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
            raise RecipeError(f"{source.place(key)}: a key must be a word")
        if key.value in built:
            raise RecipeError(f"{source.place(key)}: the key '{key.value}' stands twice{inside(location)}", "keep one")
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
        raise RecipeError(f"{source.place(node)}: '{text}' is no number that can be used") from None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "null":
        return None
    if tag == "str":
        return text
    raise RecipeError(f"{source.place(node)}: the tag {node.tag} is not understood", "write the plain value")


def override_with(reading: Reading, override: str) -> None:
    """Lays one "key.sub=value" over what was read; the value is YAML, and a number in the path counts in a list from 0.

    Raises:
        RecipeError: the override is not understood, or goes into a value.
    """
    path, equals, text = override.partition("=")
    where = f"override '{override}'"
    if not equals or not all(path.split(".")):
        raise RecipeError(f"{where} is not understood", "write KEY.SUB=VALUE, for example schedule.steps=1000")
    value = parse(text, where, numbered=False) if text.strip() else Reading("")
    location = _put(reading.data, path.split("."), value.data, where)
    for known in [each for each in reading.origins if each[: len(location)] == location]:
        del reading.origins[known]
    reading.origins.update({(*location, *inner): where for inner in [(), *value.origins]})
    for length in range(1, len(location)):  # the sections that it made
        reading.origins.setdefault(location[:length], where)


def _put(data: Any, keys: Sequence[str], value: Any, where: str) -> Location:
    """Sets what the keys name; sections that the file leaves out are made. Returns the place as pydantic names it."""
    location: Location = ()
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(data, list):
            if not key.isdecimal() or int(key) >= len(data):
                raise RecipeError(
                    f"{where}: {dotted(location)} is a list of {len(data)}, and '{key}' names none of them",
                    "count from 0" if data else f"set the whole list: {dotted(location)}=[…]",
                )
            step: str | int = int(key)
        elif isinstance(data, dict):
            step = key
            if not last and data.get(key) is None:
                data[key] = {}
        else:
            raise RecipeError(f"{where}: {dotted(location)} is a value and has no '{key}' in it")
        location = (*location, step)
        if last:
            data[step] = value
        else:
            data = data[step]
    return location


def inside(location: Location) -> str:
    """Returns " in schedule" for what stands in that section, and "" for what stands at the top."""
    return f" in {dotted(location)}" if location else ""


def dotted(location: Location) -> str:
    """Returns "data.train.0", as an override names it."""
    return ".".join(map(str, location))
