"""The decisions of a reviewer, as review.html saves them: read strictly, because they uncover regions of images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcycle.artifact import strict_json
from mlcycle.errors import InputError
from mlcycle.inference.record import Identity, Record

FORMAT, SCHEMA_VERSION = "mlcycle-decisions", 1
MAX_BYTES, MAX_ADDED = 256 << 20, 1000
_HINT = "save the decisions again from RUN/review.html"
_NOT_READABLE = "the decisions are not a file that review.html has saved"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer decided on one image.

    Attributes:
        accepted: whether the reviewer accepts the image's copy, with these changes.
        removed: numbers of covered regions without a face, counted from 1 in the order of the record.
        added: x1 y1 x2 y2 of further faces in pixels of the upright image.
    """

    accepted: bool = False
    removed: tuple[int, ...] = ()
    added: tuple[tuple[float, float, float, float], ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether the copy must differ from that of the model alone."""
        return bool(self.removed or self.added)

    @property
    def is_made(self) -> bool:
        """Whether anything was decided; a decision that was taken back is not made."""
        return self.accepted or self.is_change

    def as_dict(self) -> dict[str, Any]:
        """Returns the decision for JSON."""
        return {"accepted": self.accepted, "removed": list(self.removed), "added": [list(box) for box in self.added]}

    def must_fit(self, record: Record) -> None:
        """Raises ValueError if the record has no such regions, or an added box is not inside the image."""
        if not all(1 <= number <= len(record.scores_N) for number in self.removed):
            raise ValueError("no such region")
        for x1, y1, x2, y2 in self.added:
            if not (0 <= x1 < x2 <= record.width and 0 <= y1 < y2 <= record.height):
                raise ValueError("a box is not inside the image")


@dataclass(frozen=True, slots=True)
class DecidedImage:
    """A decision, and the image it is about.

    Attributes:
        identity: of the image's record.
        digest: of its file and its regions when they were reviewed.
    """

    identity: Identity
    digest: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class DecisionFile:
    """The contents of a decisions.json: the identity of its run, and the decided images."""

    run: str
    images: tuple[DecidedImage, ...]


def read(path: Path) -> DecisionFile:
    """Reads a decisions.json.

    Raises:
        InputError: it cannot be read, or is not such a file: anything unknown, repeated or out of range is refused.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror}", _HINT) from None
    try:
        if len(data) > MAX_BYTES:
            raise ValueError("too large")
        return _file_of(strict_json.loads(data.decode()))
    except (ValueError, TypeError, KeyError) as problem:
        raise InputError(f"{_NOT_READABLE}: {problem}", _HINT) from None


def from_dict(values: dict[str, Any]) -> Decision:
    """Returns the decision of a dictionary from `as_dict`.

    Raises:
        ValueError: a value has another type, or is out of range.
    """
    accepted, removed, added = values["accepted"], values["removed"], values["added"]
    if type(accepted) is not bool:
        raise ValueError("accepted is neither true nor false")
    if type(removed) is not list or not all(type(each) is int and each > 0 for each in removed):
        raise ValueError("removed is not a list of numbers of regions")
    if len(set(removed)) < len(removed):
        raise ValueError("a region is removed twice")
    if type(added) is not list or len(added) > MAX_ADDED:
        raise ValueError(f"added is not a list of at most {MAX_ADDED:,} boxes")
    return Decision(accepted, tuple(sorted(removed)), tuple(_box(each) for each in added))


def _file_of(values: Any) -> DecisionFile:
    _must_have(values, {"format", "schema_version", "run", "images"})
    if values["format"] != FORMAT:
        raise ValueError("another format")
    if type(values["schema_version"]) is not int or values["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version is not {SCHEMA_VERSION}")
    if type(values["run"]) is not str or type(values["images"]) is not list:
        raise ValueError("run is not a text, or images is not a list")
    images = tuple(_image(each) for each in values["images"])
    if len({each.identity for each in images}) < len(images):
        raise ValueError("an image is there twice")
    return DecisionFile(values["run"], images)


def _image(values: Any) -> DecidedImage:
    _must_have(values, {"input", "part", "digest", "accepted", "removed", "added"})
    name, part, digest = values["input"], values["part"], values["digest"]
    if not (type(name) is str and type(part) is int and part >= 0 and type(digest) is str):
        raise ValueError("input, part or digest has the wrong type")
    return DecidedImage((os.fsencode(name), part), digest, from_dict(values))


def _box(values: Any) -> tuple[float, float, float, float]:
    if type(values) is not list or len(values) != 4 or not all(type(each) in (int, float) for each in values):
        raise ValueError("a box is not four numbers")
    x1, y1, x2, y2 = (float(each) for each in values)
    return x1, y1, x2, y2


def _must_have(values: Any, keys: set[str]) -> None:
    if type(values) is not dict or values.keys() != keys:
        raise ValueError(f"an object does not have exactly the keys {', '.join(sorted(keys))}")
