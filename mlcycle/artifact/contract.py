"""The contract: how to use a model file, as JSON under one metadata key. docs/model-file.md specifies it."""

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
# The operating point that every file has; it is the default.
BALANCED = "balanced"
# Limits of the numbers and the length of names in a contract.
MAX_NUMBER, MAX_NAME_LENGTH = 1 << 20, 200
# Resize rule → whether it requires a fixed input size.
RULES = {"fit-long-side": False, "fit-inside": True}

INPUT = "images"
OUTPUTS = ("boxes", "scores", "landmarks")
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner")


@dataclass(frozen=True, slots=True)
class Resize:
    """How an image is resized to the input: reduced until its long side has `long_side` pixels, never enlarged.

    With w, h the upright image and s = min(1, long_side / max(w, h)), the input has
    max(1, floor(w * s + 0.5)) x max(1, floor(h * s + 0.5)) pixels, resampled with an antialiased triangle filter.

    The rule "fit-inside", for files with a fixed input size, has s = min(1, width / w, height / h) and pads the rest.
    """

    long_side: int
    rule: str = "fit-long-side"
    filter: str = "antialiased-triangle"


@dataclass(frozen=True, slots=True)
class Padding:
    """How images of different sizes are padded to share a batch: at the right and the bottom, with this value."""

    value: int = 0
    side: str = "right-bottom"


@dataclass(frozen=True, slots=True)
class InputSize:
    """The fixed input size of a file with fixed shapes, in pixels, and its batch size."""

    width: int
    height: int
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Selection:
    """How the graph selects final boxes: greedy NMS over the boxes with a score of at least `score_floor`."""

    score_floor: float
    iou_threshold: float
    max_faces: int
    method: str = "greedy-nms"


@dataclass(frozen=True, slots=True)
class Contract:
    """Everything that a program needs to use the file; see docs/model-file.md.

    Attributes:
        landmarks: names of the points of the output `landmarks`, in order ("left" as seen in the image); empty if the
            model was trained without landmarks, and then the graph has no such output.
        thresholds: operating point → minimum score of a face.
        reduced_jpeg: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size if its long side then is at least this many
            times the input's; None forbids it.
        input_size: the fixed input size; None for any size.
        about: licences, intended use and limits, for people; no program decides by it.
        training: the model's origin, for people; no program decides by it.
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

    @property
    def redaction_threshold(self) -> float:
        """The minimum score of a region that redaction covers: "sensitive", or "balanced" in a file without it.

        A missed face is worse there than a false alarm.
        """
        return min(self.thresholds[BALANCED], self.thresholds.get("sensitive", 1.0))

    def choose_threshold(self, threshold: float | None = None, at: str | None = None) -> float:
        """Returns the minimum score of a face: `threshold`, or that of the operating point `at`, or "balanced".

        Raises:
            UsageError: no such operating point, the threshold is not in 0 to 1, or both are given.
        """
        if threshold is not None and at is not None:
            raise UsageError("a threshold and an operating point exclude each other", "leave out one")
        if threshold is None:
            point = BALANCED if at is None else at
            if point not in self.thresholds:
                points = ", ".join(f"{name} ({value:g})" for name, value in sorted(self.thresholds.items()))
                what = f"the model {self.name} has no operating point {point}; it has {points}"
                raise UsageError(what, "choose one of these, or give a threshold")
            return self.thresholds[point]
        if not 0 <= threshold <= 1:
            raise UsageError(f"the threshold {threshold:g} is not a score", "give a number from 0 to 1")
        return threshold


def from_json(text: str) -> Contract:
    """Parses a contract.

    Raises:
        ModelFileError: the text is not a contract, has an unknown format, or has values of the wrong type.
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
        _check_types(Contract(**values))
        texts = {name: tuple(values[name]) for name in ("landmarks", "labels")}
        return Contract(**values | texts)
    except (KeyError, TypeError) as problem:
        sentence = f"the model file's contract is incomplete: {str(problem)[:100]}"
        raise ModelFileError(sentence, "freeze the model again") from None
    except (ValueError, AttributeError):
        sentence = "the model file's contract has values of the wrong type"
        raise ModelFileError(sentence, "freeze the model again") from None


def _check_types(contract: Contract) -> None:
    """Raises ValueError or AttributeError if a value has the wrong type, so that no later code has to check it.

    Texts must be printable because they are shown to people. `about` and `training` may be anything.
    """
    size, selection, thresholds = contract.input_size, contract.selection, contract.thresholds
    parent = () if contract.parent is None else (contract.parent,)
    names = (*parent, *thresholds, *contract.labels, *contract.landmarks)
    texts = (contract.name, contract.precision, selection.method, *names)
    whole = (contract.resize.long_side, selection.max_faces, *((size.width, size.height, size.batch) if size else ()))
    reduced = () if contract.reduced_jpeg is None else (contract.reduced_jpeg,)
    numbers = (selection.score_floor, selection.iou_threshold, *reduced, *thresholds.values(), *whole)
    if not (
        all(isinstance(each, list) for each in (contract.labels, contract.landmarks))
        and all(isinstance(each, str) and each.isprintable() and len(each) <= MAX_NAME_LENGTH for each in texts)
        and all(type(each) is int and each > 0 for each in whole)
        and all(type(each) in (int, float) and abs(each) <= MAX_NUMBER for each in numbers)
    ):
        raise ValueError
