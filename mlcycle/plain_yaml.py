"""YAML with origins: plain data and, for each part, the file and line or the override that it comes from.

Recipes, and the files that labelled sets bring, are read by it.

The YAML is read without its surprises: only true and false are booleans ("no" and "on" are strings), 1e-3 is a number,
010 is ten, dates are strings. Duplicate keys, tags, aliases, and numbers out of the range of floats are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from mlcycle.errors import MlcycleError

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
        # A few lines of nested aliases could exhaust the memory, and nothing that is read here needs one.
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


def parse(text: str, where: str, error: type[MlcycleError], *, numbered: bool = True) -> Reading:
    """Reads YAML; `where` names it in errors and origins, followed by the line if `numbered`.

    Raises:
        error: not YAML, or it uses a refused feature.
    """
    try:
        node = yaml.compose(text, Loader=Loader)
        reading = Reading(None)
        reading.data = None if node is None else _build(node, (), _Source(where, numbered, error, reading.origins))
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        place = f"{where}:{mark.line + 1}" if numbered and mark else where
        raise error(f"{place}: not YAML: {problem.problem}", "check indentation, colons and quotes") from None
    except yaml.YAMLError:
        raise error(f"{where}: not YAML: it contains invalid characters") from None
    except RecursionError:
        raise error(f"{where}: nested too deeply") from None
    return reading


@dataclass(frozen=True, slots=True)
class _Source:
    where: str
    numbered: bool
    error: type[MlcycleError]
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
            raise source.error(f"{source.place(key)}: a key must be a string")
        if key.value in built:
            raise source.error(f"{source.place(key)}: duplicate key '{key.value}'{inside(location)}", "keep one")
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
        raise source.error(f"{source.place(node)}: the number '{text}' is out of range") from None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "null":
        return None
    if tag == "str":
        return text
    raise source.error(f"{source.place(node)}: the tag {node.tag} is not supported", "write the plain value")


def inside(location: Location) -> str:
    """Returns " in schedule" for a key of that section, and "" for a key at the top level."""
    return f" in {dotted(location)}" if location else ""


def dotted(location: Location) -> str:
    """Returns a location as an override writes it: "data.train.0"."""
    return ".".join(map(str, location))
