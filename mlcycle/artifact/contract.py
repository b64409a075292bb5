"""The contract: what a frozen file says of itself, as JSON under one metadata key. docs/model-file.md is its norm."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mlcycle.artifact import strict_json
from mlcycle.errors import ModelFileError, UsageError

FORMAT = 1
CONTRACT_KEY = "mlcycle.contract"
SECTIONS_KEY = "mlcycle.sections"
SEAL_KEY = "mlcycle.seal"
# The operating point that every file has, and that counts where nobody chooses one.
BALANCED = "balanced"
# No number in a contract is larger, and no name longer; an image of so many pixels a side is none.
MOST_NUMBER, MOST_LETTERS = 1 << 20, 200
# By which rule images are made smaller, and whether the input then has one fixed size.
RULES = {"fit-long-side": False, "fit-inside": True}

INPUT = "images"
OUTPUTS = ("boxes", "scores", "landmarks")
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner")


@dataclass(frozen=True, slots=True)
class Resize:
    """How an image becomes an input: never enlarged; made smaller so that its long side is `long_side` pixels.

    With w, h the upright image and s = min(1, long_side / max(w, h)), the input has
    max(1, floor(w * s + 0.5)) x max(1, floor(h * s + 0.5)) pixels, resampled with an antialiased triangle filter.

    By the rule "fit-inside", of a file whose input has one fixed size, s = min(1, width / w, height / h), and what is
    missing is padded.
    """

    long_side: int
    rule: str = "fit-long-side"
    filter: str = "antialiased-triangle"


@dataclass(frozen=True, slots=True)
class Padding:
    """How images of different sizes share a batch: at the right and at the bottom, with this value."""

    value: int = 0
    side: str = "right-bottom"


@dataclass(frozen=True, slots=True)
class InputSize:
    """The one size that a file with fixed shapes takes, in pixels, and how many images at once."""

    width: int
    height: int
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Selection:
    """How the graph chooses final boxes: greedy non-maximum suppression among those scored at least `score_floor`."""

    score_floor: float
    iou_threshold: float
    max_faces: int
    method: str = "greedy-nms"


@dataclass(frozen=True, slots=True)
class Contract:
    """All that a stranger must know to use the file; see docs/model-file.md.

    `landmarks` names the points of the output `landmarks` in order ("left" as seen in the image); empty when the
    model was trained without them, and then the graph has no such output. `thresholds` maps an operating point to
    the least score that counts as a face there. `reduced_jpeg` allows a JPEG to be decoded at 1/2, 1/4 or 1/8 of its
    size, as long as it stays so many times as long as the input; None does not. `input_size` is None but for files with
    fixed shapes. `about` (licences, intended use, limits) and `training` (where it comes from) are for people; nothing
    reads them to decide.
    """

    name: str
    resize: Resize
    selection: Selection
    thresholds: dict[str, float]
    landmarks: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("face",)
    padding: Padding = field(default_factory=Padding)
    colour: str = "RGB"
    layout: str = "NHWC"
    dtype: str = "uint8"
    orientation: str = "upright"
    box_order: str = "x1 y1 x2 y2"
    reduced_jpeg: float | None = None
    precision: str = "float32"
    parent: str | None = None
    input_size: InputSize | None = None
    about: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """Returns the canonical text: sorted keys, no spaces, ASCII; equal contracts give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        return OUTPUTS if self.landmarks else OUTPUTS[:2]

    def choose_threshold(self, threshold: float | None = None, at: str | None = None) -> float:
        """Returns the least score that counts as a face: the one given, that of an operating point, or "balanced".

        Raises:
            UsageError: there is no such operating point, the threshold is not in 0 to 1, or both are given.
        """
        if threshold is not None and at is not None:
            raise UsageError("a threshold and an operating point both say what counts as a face", "leave out one")
        if threshold is None:
            point = BALANCED if at is None else at
            if point not in self.thresholds:
                points = ", ".join(f"{name} ({value:g})" for name, value in sorted(self.thresholds.items()))
                what = f"the model {self.name} has no operating point {point}; it has {points}"
                raise UsageError(what, "take one of these, or give a threshold")
            return self.thresholds[point]
        if not 0 <= threshold <= 1:
            raise UsageError(f"the threshold {threshold:g} is not a score", "give a number from 0 to 1")
        return threshold


def from_json(text: str) -> Contract:
    """Reads a contract.

    Raises:
        ModelFileError: the text is no contract, of a format that this version does not know, or holds values of other
            kinds than a contract has.
    """
    try:
        raw = strict_json.loads(text)
        number = raw["format"]
    except (ValueError, KeyError, TypeError):
        raise ModelFileError("the model file's contract cannot be read", "freeze the model again") from None
    if type(number) is not int or number != FORMAT:
        raise ModelFileError(
            f"the model file has format {str(number)[:40]}; this mlcycle reads format {FORMAT}",
            "install a newer mlcycle" if isinstance(number, int) and number > FORMAT else "freeze the model again",
        )
    try:
        known = {each.name for each in fields(Contract)}
        values = {key: value for key, value in raw.items() if key in known}
        values["resize"] = Resize(**raw["resize"])
        values["padding"] = Padding(**raw["padding"])
        values["selection"] = Selection(**raw["selection"])
        if raw.get("input_size") is not None:
            values["input_size"] = InputSize(**raw["input_size"])
        _must_be_of_its_kinds(Contract(**values))
        texts = {name: tuple(values[name]) for name in ("landmarks", "labels")}
        return Contract(**values | texts)
    except (KeyError, TypeError) as problem:
        sentence = f"the model file's contract is incomplete: {str(problem)[:100]}"
        raise ModelFileError(sentence, "freeze the model again") from None
    except (ValueError, AttributeError):
        sentence = "the model file's contract holds values of other kinds than it must"
        raise ModelFileError(sentence, "freeze the model again") from None


def _must_be_of_its_kinds(it: Contract) -> None:
    """Raises ValueError or AttributeError if a value is of another kind: whoever reads it later does not ask again.

    Texts must be printable, since they are said to people. `about` and `training` are theirs alone and may be anything.
    """
    size, selection = it.input_size, it.selection
    parent = () if it.parent is None else (it.parent,)
    texts = (it.name, it.precision, selection.method, *parent, *it.thresholds, *it.labels, *it.landmarks)
    whole = (it.resize.long_side, selection.max_faces, *((size.width, size.height, size.batch) if size else ()))
    reduced = () if it.reduced_jpeg is None else (it.reduced_jpeg,)
    numbers = (selection.score_floor, selection.iou_threshold, *reduced, *it.thresholds.values(), *whole)
    if not (
        all(isinstance(each, list) for each in (it.labels, it.landmarks))
        and all(isinstance(each, str) and each.isprintable() and len(each) <= MOST_LETTERS for each in texts)
        and all(type(each) is int and each > 0 for each in whole)
        and all(type(each) in (int, float) and abs(each) <= MOST_NUMBER for each in numbers)
    ):
        raise ValueError
