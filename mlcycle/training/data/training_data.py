"""The material to study: the photographs that a recipe names, what is kept aside, and the fingerprint of it all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.datasets.labelled_image import LabelledPhotograph
from mlcycle.datasets.member import Member
from mlcycle.datasets.reading import fingerprint, read
from mlcycle.errors import DataError
from mlcycle.training.recipes.recipe import Data, Source


@dataclass(frozen=True, slots=True)
class Material:
    """What is studied and what is held out.

    Attributes:
        train: the photographs to study, with weights (how often each is drawn).
        held_out: those that choose between checkpoints; never studied.
        fingerprint: sha256 over both; equal data has an equal fingerprint wherever it lies.
        packing: where photographs are streamed, a digest of which lie in a shard together, which decides their order;
            else "".
    """

    train: tuple[LabelledPhotograph, ...]
    weights: tuple[float, ...]
    held_out: tuple[LabelledPhotograph, ...]
    fingerprint: str
    packing: str = ""

    def has_landmarks(self) -> bool:
        """Tells whether any face to study has a labelled point."""
        return any(np.isfinite(each.landmarks_N52[~each.ignore_N]).any() for each in self.train)

    def must_be(self, fingerprint: object) -> None:
        """Raises DataError unless this is the data that a run was trained on."""
        if fingerprint != self.fingerprint:
            raise DataError("the photographs or labels that the recipe names are not what the run was trained on")

    def figures(self) -> dict[str, object]:
        """Returns what the run and the model file say of the data."""
        packing = {"packing": self.packing} if self.packing else {}
        return {
            "fingerprint": self.fingerprint,
            **packing,
            "train_photographs": len(self.train),
            "train_faces": sum(int((~each.ignore_N).sum()) for each in self.train),
            "train_faces_with_landmarks": sum(_with_landmarks(each) for each in self.train),
            "held_out_photographs": len(self.held_out),
            "held_out_faces": sum(int((~each.ignore_N).sum()) for each in self.held_out),
        }


def gather(data: Data) -> Material:
    """Reads the sets of a recipe and divides them.

    Raises:
        DataError: a set is missing or empty, or no face is left to study.
    """
    train: list[LabelledPhotograph] = []
    weights: list[float] = []
    held_out: list[LabelledPhotograph] = []
    for source in data.train:
        for photograph in _read(source, data.order == "streamed"):
            if is_held_out(photograph.name, data.hold_out):
                held_out.append(photograph)
            else:
                train.append(photograph)
                weights.append(source.weight)
    for source in data.validation:
        held_out += _read(source)
    # Another draw than the one that holds photographs out, or those would always come first.
    held_out = sorted(held_out, key=lambda each: _draw(f"limit {each.name}"))[: data.validation_limit]
    if not any((~each.ignore_N).any() for each in train):
        raise DataError("no face is left to study in the recipe's training sets", "run: mlcycle train data check")
    if not any((~each.ignore_N).any() for each in held_out):
        raise DataError("no face is left in the held-out photographs", "raise data.hold_out, or name data.validation")
    packing = _packing_of(train) if data.order == "streamed" else ""
    return Material(tuple(train), tuple(weights), tuple(held_out), _fingerprint_of(train, held_out), packing)


def is_held_out(name: str, share: float) -> bool:
    """Tells whether a photograph is kept aside: by its name alone, so that it stays there when others come and go."""
    return _draw(name) < share


def _draw(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def _with_landmarks(photograph: LabelledPhotograph) -> int:
    return int(np.isfinite(photograph.landmarks_N52[~photograph.ignore_N]).any((1, 2)).sum())


def _read(source: Source, must_be_packed: bool = False) -> list[LabelledPhotograph]:
    photographs = read(source.path, source.split)
    if must_be_packed and not isinstance(photographs[0].path, Member):
        raise DataError(
            f"{source.path} is no packed set, and data.order is streamed",
            f"pack it: mlcycle train data pack {source.path} --out FOLDER; or say data.order=random",
        )
    left_out = set(source.leave_out)
    unknown = left_out - {each.name for each in photographs}
    if unknown:
        raise DataError(
            f"{source.path} has no photograph {sorted(unknown)[0]} to leave out", "see data.train in the recipe"
        )
    return [each for each in photographs if each.name not in left_out]


def _packing_of(train: list[LabelledPhotograph]) -> str:
    numbers: dict[Path, int] = {}
    digest = hashlib.sha256()
    for each in train:
        assert isinstance(each.path, Member)
        number = numbers.setdefault(each.path.shard, len(numbers))
        digest.update(f"{number}\0{each.name}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _fingerprint_of(*parts: list[LabelledPhotograph]) -> str:
    return hashlib.sha256("".join(fingerprint(part) for part in parts).encode()).hexdigest()
