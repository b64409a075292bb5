"""Run comparison: the digests of the parts of two runs, and the first number that differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcycle.training.run import tensor_file

# Other values of a report depend on the clock or the machine.
REPORTED = (
    "step", "loss", "score_loss", "box_loss", "landmark_loss", "teacher_loss", "learning_rate", "average_precision",
    "average_precision_50",
)  # fmt: skip
TYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as in its file: safetensors' name of its type, its shape, and its bytes."""

    kind: str
    shape: tuple[int, ...]
    data: memoryview

    def numbers(self) -> np.ndarray:
        """Returns its numbers, flattened, in double precision."""
        if self.kind == "BF16":
            return (np.frombuffer(self.data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
        return np.frombuffer(self.data, TYPES.get(self.kind, "u1")).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Compared:
    """One part of two runs: its name, its digests, and the first difference."""

    name: str
    digests: tuple[str, str]
    difference: str = ""

    @property
    def is_equal(self) -> bool:
        return self.digests[0] == self.digests[1]


def stored(data: bytes) -> dict[str, Stored]:
    """Returns the tensors of safetensors, in the order of their names."""
    start = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:start])
    header.pop("__metadata__", None)
    view = memoryview(data)
    return {
        name: Stored(entry["dtype"], tuple(entry["shape"]), view[slice(*(start + at for at in entry["data_offsets"]))])
        for name, entry in sorted(header.items())
    }


def compare_tensors(name: str, one: bytes, other: bytes, prefix: str) -> Compared:
    """Compares the tensors of two checkpoints whose names begin with a prefix."""
    mine, theirs = (
        {name: each for name, each in stored(data).items() if name.startswith(prefix)} for data in (one, other)
    )
    digests = _digest(mine), _digest(theirs)
    return Compared(name, digests, "" if digests[0] == digests[1] else first_difference(mine, theirs))


def first_difference(mine: Mapping[str, Stored], theirs: Mapping[str, Stored]) -> str:
    """Returns how many tensors differ, the first of them, and its largest difference."""
    differing = [name for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)]
    first = differing[0]
    one, other = mine.get(first), theirs.get(first)
    if one is None or other is None or (one.kind, one.shape) != (other.kind, other.shape):
        how = "with another shape or type, or in one run only"
    else:
        how = f"by at most {np.abs(one.numbers() - other.numbers()).max():.3g}"
    return f"{len(differing)} of {len(mine)} tensors differ, first {first}, {how}"


def compare_progress(one: bytes, other: bytes) -> Compared:
    """Compares the progress recorded in two checkpoints, including the best step."""
    return _compare_texts("progress", *(_progress(data) for data in (one, other)))


def compare_reports(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> Compared:
    """Compares the losses and scores that two runs reported."""
    both = ([json.dumps({name: line.get(name) for name in REPORTED}) for line in lines] for lines in (one, other))
    return _compare_texts("losses and scores", *both)


def _compare_texts(name: str, mine: list[str], theirs: list[str]) -> Compared:
    digests = [hashlib.sha256("\n".join(lines).encode()).hexdigest() for lines in (mine, theirs)]
    longest = max(len(mine), len(theirs))
    padded = [lines + ["nothing"] * (longest - len(lines)) for lines in (mine, theirs)]
    differing = (f"{one} and {another}" for one, another in zip(*padded, strict=True) if one != another)
    return Compared(name, (digests[0], digests[1]), next(differing, ""))


def _progress(data: bytes) -> list[str]:
    entry = json.loads(tensor_file.texts(data)[tensor_file.PROGRESS_KEY])
    return [f"{name} {value}" for name, value in entry.items() if name != "seconds"]


def _digest(tensors: Mapping[str, Stored]) -> str:
    digest = hashlib.sha256()
    for name, each in tensors.items():
        digest.update(f"{name}\0{each.kind}\0{each.shape}\0".encode())
        digest.update(each.data)
    return digest.hexdigest()
