"""Flattens nested JSON objects to dotted names: resize.long_side, data.train.0.path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted name, value) pairs; a list is a value unless all its items are objects."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)) and value and all(isinstance(each, Mapping) for each in value):
            for index, each in enumerate(value):
                yield from flatten(each, f"{prefix}{name}.{index}.")
        else:
            yield f"{prefix}{name}", value


def differing_names(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Returns the sorted dotted names of the values that differ or exist in only one of the two objects."""
    ones, others = dict(flatten(one)), dict(flatten(other))
    return [
        name
        for name in sorted(ones.keys() | others.keys())
        if name not in ones or name not in others or ones[name] != others[name]
    ]
