"""What differs between the weights of two files, tensor by tensor."""

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
    """How far a tensor is from the one of its name, in shares of the larger of the two.

    Attributes:
        values, differing: how many there are, and how many of them differ.
        largest: the largest difference, as a share of the largest value by size; None where something is no number.
        mean: the mean difference, as a share of the mean size of values.
    """

    name: str
    values: int
    differing: int
    largest: float | None
    mean: float | None


def compare(one: Tensors, one_data: bytes, other: Tensors, other_data: bytes) -> dict[str, Any]:
    """Compares tensors by their names, and returns what was found, as JSON has it.

    Values are compared where both have the same shape and type, or are floats of any width.

    Args:
        one_data, other_data: the bytes of the files that the tensors lie in.
    """
    shared = [name for name in one if name in other]
    alike = {name: None for name in shared if _may_be_compared(one[name], other[name])}
    changes = [_change(name, _values(one[name], one_data), _values(other[name], other_data)) for name in alike]
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
        "unreadable": sum(_kind(one[name]) == _kind(other[name]) and name not in alike for name in shared),
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


def _may_be_compared(one: Tensor, other: Tensor) -> bool:
    """Tells whether numpy can read both; values that are not written as plain bytes are not read."""
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
    apart_N, sizes_2N = np.abs(one_N - other_N), np.abs(np.stack([one_N, other_N]))
    largest, mean = float(apart_N.max() / sizes_2N.max()), float(apart_N.mean() / sizes_2N.mean(axis=1).max())
    return _Change(name, len(one_N), differing, largest, mean)
