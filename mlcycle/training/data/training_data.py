"""The training data of a recipe: training images, validation images, and a fingerprint of both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import Member
from mlcycle.datasets.reading import fingerprint, read
from mlcycle.errors import DataError
from mlcycle.training.recipes.recipe import Data, Source


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The training set and the validation set.

    Attributes:
        train: the training images; weights: how often each is drawn.
        val: the validation images, on which checkpoints are compared; never trained on.
        fingerprint: sha256 of both; equal data has an equal fingerprint wherever it is stored.
        sets: the path of each training image's set, as the recipe has it.
        packing: for streamed data, a digest of the assignment of images to shards, which decides their order; else "".
    """

    train: tuple[LabelledImage, ...]
    weights: tuple[float, ...]
    val: tuple[LabelledImage, ...]
    fingerprint: str
    sets: tuple[str, ...]
    packing: str = ""

    def sample_images(self, paths: Sequence[str], most: int) -> list[LabelledImage]:
        """Returns at most `most` training images of these sets, or of all if none is named, spread evenly."""
        named = zip(self.train, self.sets, strict=True)
        found = [each for each, path in named if path in paths or not paths]
        count = min(most, len(found))
        return [found[place * len(found) // count] for place in range(count)]

    def has_landmarks(self) -> bool:
        """Returns whether any training face has a labelled landmark."""
        return any(np.isfinite(each.landmarks_N52[~each.ignore_N]).any() for each in self.train)

    def check_fingerprint(self, fingerprint: object) -> None:
        """Raises DataError unless this is the data that a run was trained on."""
        if fingerprint != self.fingerprint:
            raise DataError("the recipe's images or labels are not those that the run was trained on")

    def summary(self) -> dict[str, object]:
        """Returns the summary of the data that the run and the model file record."""
        packing = {"packing": self.packing} if self.packing else {}
        return {
            "fingerprint": self.fingerprint,
            **packing,
            "train_photographs": len(self.train),
            "train_faces": sum(int((~each.ignore_N).sum()) for each in self.train),
            "train_faces_with_landmarks": sum(_with_landmarks(each) for each in self.train),
            "held_out_photographs": len(self.val),
            "held_out_faces": sum(int((~each.ignore_N).sum()) for each in self.val),
        }


def load_training_data(data: Data) -> TrainingData:
    """Reads the sets of a recipe, and divides them into training and validation images.

    Raises:
        DataError: a set is missing or empty, or no face is left to train on or to validate on.
    """
    train: list[LabelledImage] = []
    weights: list[float] = []
    val: list[LabelledImage] = []
    sets: list[str] = []
    for source in data.train:
        for image in _read(source, data.order == "streamed"):
            if is_val(image.name, data.val_fraction):
                val.append(image)
            else:
                train.append(image)
                weights.append(source.weight)
                sets.append(source.path)
    for source in data.validation:
        val += _read(source)
    # A different hash than that of `is_val`, which would always put its own images first.
    val = sorted(val, key=lambda each: _draw(f"limit {each.name}"))[: data.validation_limit]
    if not any((~each.ignore_N).any() for each in train):
        raise DataError("no face is left to train on in the recipe's training sets", "run: mlcycle data check")
    if not any((~each.ignore_N).any() for each in val):
        raise DataError("no face is left in the validation images", "raise data.val_fraction, or set data.validation")
    packing = _packing_of(train) if data.order == "streamed" else ""
    fingerprint = _fingerprint_of(train, val)
    return TrainingData(tuple(train), tuple(weights), tuple(val), fingerprint, tuple(sets), packing)


def is_val(name: str, share: float) -> bool:
    """Returns whether an image is a validation image; depends only on its name, not on the other images."""
    return _draw(name) < share


def _draw(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def _with_landmarks(image: LabelledImage) -> int:
    return int(np.isfinite(image.landmarks_N52[~image.ignore_N]).any((1, 2)).sum())


def _read(source: Source, must_be_packed: bool = False) -> list[LabelledImage]:
    images = read(source.path, source.split)
    if must_be_packed and not isinstance(images[0].path, Member):
        raise DataError(
            f"{source.path} is not a packed set, but data.order is streamed",
            f"pack it: mlcycle data pack {source.path} --out FOLDER; or set data.order=random",
        )
    left_out = set(source.leave_out)
    unknown = left_out - {each.name for each in images}
    if unknown:
        raise DataError(f"{source.path} has no image {sorted(unknown)[0]} to leave out", "see data.train in the recipe")
    return [each for each in images if each.name not in left_out]


def _packing_of(train: list[LabelledImage]) -> str:
    numbers: dict[Path, int] = {}
    digest = hashlib.sha256()
    for each in train:
        assert isinstance(each.path, Member)
        number = numbers.setdefault(each.path.shard, len(numbers))
        digest.update(f"{number}\0{each.name}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _fingerprint_of(*parts: list[LabelledImage]) -> str:
    return hashlib.sha256("".join(fingerprint(part) for part in parts).encode()).hexdigest()
