"""Differences between the weights of two model files, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlcycle.artifact.structure import Tensor

MOST_SHOWN = 10
_FLOATS = ("float16", "float32", "float64")

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class _Change:
    """The difference between two tensors of one name.

    Attributes:
        values, differing: the number of values, and of values that differ.
        largest: the largest difference, relative to the largest absolute value; None if a value is not finite.
        mean: the mean difference, relative to the mean absolute value.
    """

    name: str
    values: int
    differing: int
    largest: float | None
    mean: float | None


def compare(one: Tensors, one_data: bytes, other: Tensors, other_data: bytes) -> dict[str, Any]:
    """Compares tensors by name, and returns the differences for a JSON document.

    Values are compared if both have the same shape and type, or the same shape and any float type.

    Args:
        one_data, other_data: the bytes of the files that contain the tensors.
    """
    shared = [name for name in one if name in other]
    comparable = {name: None for name in shared if _is_comparable(one[name], other[name])}
    changes = [_change(name, _values(one[name], one_data), _values(other[name], other_data)) for name in comparable]
    differ = sorted((each for each in changes if each.differing), key=_by_size, reverse=True)
    means = [each.mean for each in differ if each.mean is not None]
    return {
        "shared": len(shared),
        "only_a": list(_described(one, other)),
        "only_b": list(_described(other, one)),
        "other_shape_or_type": [
            {"name": name, "a": _kind(one[name]), "b": _kind(other[name])}
            for name in shared
            if _kind(one[name]) != _kind(other[name])
        ],
        "compared": len(changes),
        "unreadable": sum(_kind(one[name]) == _kind(other[name]) and name not in comparable for name in shared),
        "differ": len(differ),
        "largest": max((each.largest for each in differ if each.largest is not None), default=0.0),
        "mean": float(np.mean(means)) if means else 0.0,
        "most": [asdict(each) for each in differ[:MOST_SHOWN]],
    }


def _by_size(change: _Change) -> float:
    return float("inf") if change.largest is None else change.largest


def _described(one: Tensors, other: Tensors) -> Iterator[dict[str, Any]]:
    yield from ({"name": name, **_kind(tensor)} for name, tensor in one.items() if name not in other)


def _kind(tensor: Tensor) -> dict[str, Any]:
    return {"type": tensor.type, "shape": list(tensor.shape)}


def _is_comparable(one: Tensor, other: Tensor) -> bool:
    """Returns whether numpy can read both; only raw data is read."""
    types = one.type == other.type or (one.type in _FLOATS and other.type in _FLOATS)
    return types and one.shape == other.shape and _is_readable(one) and _is_readable(other)


def _is_readable(tensor: Tensor) -> bool:
    try:
        return tensor.end - tensor.begin == tensor.count * np.dtype(tensor.type).itemsize
    except TypeError:  # numpy has no such type
        return False


def _values(tensor: Tensor, data: bytes) -> np.ndarray:
    kind = np.dtype(tensor.type).newbyteorder("<")
    return np.frombuffer(data, kind, tensor.count, tensor.begin).astype(np.float64)


def _change(name: str, one_N: np.ndarray, other_N: np.ndarray) -> _Change:
    same_N = (one_N == other_N) | (np.isnan(one_N) & np.isnan(other_N))
    if same_N.all():
        return _Change(name, len(one_N), 0, 0.0, 0.0)
    differing = int((~same_N).sum())
    if not (np.isfinite(one_N).all() and np.isfinite(other_N).all()):
        return _Change(name, len(one_N), differing, None, None)
    differences_N, sizes_2N = np.abs(one_N - other_N), np.abs(np.stack([one_N, other_N]))
    largest, mean = (
        float(differences_N.max() / sizes_2N.max()),
        float(differences_N.mean() / sizes_2N.mean(axis=1).max()),
    )
    return _Change(name, len(one_N), differing, largest, mean)
