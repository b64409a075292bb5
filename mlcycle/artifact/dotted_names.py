"""What stands inside objects of JSON, by names with dots: resize.long_side, data.train.0.path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each value by its name; a list is a value, unless all in it are objects."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)) and value and all(isinstance(each, Mapping) for each in value):
            for place, each in enumerate(value):
                yield from flatten(each, f"{prefix}{name}.{place}.")
        else:
            yield f"{prefix}{name}", value


def differing_names(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Returns the names of the values that are not the same in both, or are in one of them alone, sorted."""
    ones, others = dict(flatten(one)), dict(flatten(other))
    return [
        name
        for name in sorted(ones.keys() | others.keys())
        if name not in ones or name not in others or ones[name] != others[name]
    ]
