"""In what two model files differ: section by section, in words. It needs no onnx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcycle.artifact.contract import CONTRACT_KEY, SEAL_KEY, SECTIONS_KEY
from mlcycle.artifact.self_test import SELF_TEST_KEY
from mlcycle.artifact.structure import Structure, Tensor, structure_of

# What numpy has no name for is compared by its bytes alone.
_KINDS = {"float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs: the section ("weights", "graph", "contract", "self-test", "metadata"), and how."""

    section: str
    what: str

    def __str__(self) -> str:
        return f"{self.section}: {self.what}"


def differences(one: bytes, other: bytes) -> list[Difference]:
    """Compares two model files and says what differs, both values in the order of the arguments.

    Raises:
        BrokenMessageError: one of them is no model.
    """
    first, second = structure_of(one), structure_of(other)
    found: list[Difference] = []
    if first.sections["weights"] != second.sections["weights"]:
        found.append(Difference("weights", _weights((one, first.tensors), (other, second.tensors))))
    if first.sections["graph"] != second.sections["graph"]:
        found.append(Difference("graph", _graph(first, second)))
    contracts = (_read(each.metadata.get(CONTRACT_KEY, "{}")) for each in (first, second))
    found += [Difference("contract", text) for text in unequal_fields(*contracts)]
    tests = [each.metadata.get(SELF_TEST_KEY, "{}") for each in (first, second)]
    if tests[0] != tests[1]:
        found += [Difference("self-test", text) for text in unequal_fields(*map(_read, tests))]
    for key in sorted(set(first.metadata) | set(second.metadata)):
        is_ours = key in (CONTRACT_KEY, SELF_TEST_KEY, SECTIONS_KEY, SEAL_KEY)
        if not is_ours and first.metadata.get(key) != second.metadata.get(key):
            found.append(Difference("metadata", f"the entry {key}"))
    return found


def unequal_fields(one: Any, other: Any) -> list[str]:
    """Compares two objects as JSON has them: a line for each value that differs, named with dots, and both values."""
    ones, others = dict(_flat(one)), dict(_flat(other))
    return [
        _unequal(name, ones, others)
        for name in sorted(set(ones) | set(others))
        if name not in ones or name not in others or ones[name] != others[name]
    ]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields what stands inside something by its dotted name; a list is a value, unless there are names in it."""
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        parts = list(enumerate(value))
    if not parts:
        yield name, value
    for key, part in parts:
        yield from _flat(part, f"{name}.{key}" if name else str(key))


def _unequal(name: str, ones: dict[str, Any], others: dict[str, Any]) -> str:
    texts = [json.dumps(values[name]) if name in values else "not there" for values in (ones, others)]
    if max(map(len, texts)) > _LONGEST and name in ones and name in others:
        apart = _numbers_apart(ones[name], others[name])
        if apart is not None:
            return f"{name} differs by at most {apart:.3g}"
    return " and ".join([f"{name} is {_cut(texts[0])}", _cut(texts[1])])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _numbers_apart(one: Any, other: Any) -> float | None:
    """Returns the largest difference between lists of as many numbers; None where they are something else."""
    try:
        arrays = [np.array(each, np.float64) for each in (one, other)]
    except (ValueError, TypeError):
        return None
    return float(np.abs(arrays[0] - arrays[1]).max()) if arrays[0].shape == arrays[1].shape else None


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _weights(one: tuple[bytes, dict[str, Tensor]], other: tuple[bytes, dict[str, Tensor]]) -> str:
    shared = [name for name, tensor in one[1].items() if name in other[1] and _alike(tensor, other[1][name])]
    alone = len(one[1]) + len(other[1]) - 2 * len(shared)
    differ = [name for name in shared if _raw(*one, name) != _raw(*other, name)]
    words = [f"{len(differ)} of {len(shared)} tensors differ"] if differ else []
    if differ:
        apart = {name: _apart(one, other, name) for name in differ}
        worst = max(apart, key=lambda name: apart[name])
        words.append(f"by at most {apart[worst]:.3g}, in {worst}")
    if alone:
        words.append(f"{alone} are in one of the files alone, or of another shape or type there")
    return ", ".join(words) or "their order, or values that are not stored as raw bytes"


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.type) == (other.shape, other.type)


def _raw(data: bytes, tensors: dict[str, Tensor], name: str) -> bytes:
    return data[tensors[name].begin : tensors[name].end]


def _apart(one: tuple[bytes, dict[str, Tensor]], other: tuple[bytes, dict[str, Tensor]], name: str) -> float:
    """Returns the largest difference between two tensors of one type; infinite where it is no number."""
    kind, raws = one[1][name].type, (_raw(*one, name), _raw(*other, name))
    if kind not in _KINDS or len(raws[0]) != len(raws[1]):
        return float("inf")
    values = [np.frombuffer(raw, np.dtype(kind).newbyteorder("<")).astype(np.float64) for raw in raws]
    largest = float(np.abs(values[0] - values[1]).max(initial=0.0))
    return largest if np.isfinite(largest) else float("inf")


def _graph(one: Structure, other: Structure) -> str:
    words = []
    if (one.ir_version, one.opsets) != (other.ir_version, other.opsets):
        words.append(f"{_versions(one)} and {_versions(other)}")
    for key in sorted(set(one.operators) | set(other.operators)):
        if one.operators[key] != other.operators[key]:
            words.append(f"{key[1]} {one.operators[key]} and {other.operators[key]} times")
    return ", ".join(words) or "the same operators as often, with other names, values or connections"


def _versions(found: Structure) -> str:
    return f"IR version {found.ir_version} with opset {', '.join(map(str, found.opsets.values()))}"
