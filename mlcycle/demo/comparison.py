"""Compares training and inference: what each costs, as text for the page and the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from mlcycle.demo.source_images import Box


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """The cost of the training.

    Attributes:
        seconds: of training, including evaluations on validation scenes.
        images: the number of crops (steps times batch size).
        scenes, faces: in the training set.
        multiply_adds: of all forward and backward passes.
        peak_bytes: peak memory; 0 if unknown.
        average_precision_50: of the frozen weights on validation scenes.
    """

    seconds: float
    images: int
    scenes: int
    faces: int
    multiply_adds: int
    peak_bytes: int
    average_precision_50: float


@dataclass(frozen=True, slots=True)
class Frozen:
    """The frozen model file: its name, sha256 in hex, size in bytes, and the seconds that freezing took."""

    name: str
    sha256: str
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The detections of the frozen model in one unseen image.

    Attributes:
        image: name of the file.
        box_4: the face, located by eye, or None if the image has no face.
        found: boxes (x1 y1 x2 y2, pixels) and scores, best first.
        overlap: the largest intersection over union of a detection with the face; 0 if none.
        milliseconds: from the file to the result, without loading the model.
    """

    image: str
    box_4: Box | None
    found: tuple[tuple[Box, float], ...]
    overlap: float
    milliseconds: float

    @property
    def is_right(self) -> bool:
        """Returns whether the face was found at IoU 0.5, or nothing in an image without a face."""
        return not self.found if self.box_4 is None else self.overlap >= 0.5

    @property
    def verdict(self) -> str:
        """Returns the result in one sentence."""
        score = f"{self.found[0][1]:.2f}" if self.found else ""
        if self.box_4 is None:
            return f"A false alarm (score {score})." if self.found else "No face found, as expected."
        return f"That's a face. (score {score})" if self.is_right else "The face was not found."


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison: a quantity in training and in inference, and the ratio of the two."""

    name: str
    training: str
    inference: str
    ratio: str


def compare(training: TrainingCost, result: ImageResult, inference: tuple[int, int]) -> list[Row]:
    """Returns the lines of the comparison.

    Args:
        inference: multiply-adds and peak bytes for one image.
    """
    multiply_adds, peak_bytes = inference
    return [
        Row(
            "time",
            duration(training.seconds),
            duration(result.milliseconds / 1000),
            _times(training.seconds * 1000, result.milliseconds),
        ),
        Row("images", f"{training.images:,}", "1", _times(training.images, 1)),
        Row(
            "multiply-adds",
            quantity(training.multiply_adds),
            quantity(multiply_adds),
            _times(training.multiply_adds, multiply_adds),
        ),
        Row("peak memory", size(training.peak_bytes), size(peak_bytes), _times(training.peak_bytes, peak_bytes)),
        Row("changes", "the weights", "nothing", ""),
        Row("needs", "labelled faces, torch", "the file, onnxruntime", ""),
    ]


def duration(seconds: float) -> str:
    """Returns e.g. "2 min 5 s", "41 s" or "8.3 ms"."""
    if seconds >= 59.5:
        return f"{int(seconds + 0.5) // 60} min {int(seconds + 0.5) % 60} s"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def quantity(number: float) -> str:
    """Returns a large number as text, e.g. "61 million" or "4.2 trillion"."""
    for name, unit in (("trillion", 1e12), ("billion", 1e9), ("million", 1e6)):
        if number >= unit:
            return f"{_two_digits(number / unit)} {name}"
    return f"{number:,.0f}"


def size(number: int) -> str:
    """Returns a number of bytes, e.g. "612 MB"; "not measured" for 0."""
    for name, unit in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= unit:
            return f"{_two_digits(number / unit)} {name}"
    return f"{number} bytes" if number else "not measured"


def _two_digits(number: float) -> str:
    return f"{number:.1f}" if number < 10 else f"{number:,.0f}"


def _times(training: float, inference: float) -> str:
    if not training or not inference:
        return ""
    ratio = training / inference
    if ratio < 1000:
        return f"{_two_digits(ratio)} times"
    # Two digits, the precision of the measurement.
    return f"{quantity(float(f'{ratio:.2g}'))} times"
