"""The two lives of a model side by side: what was measured, in words for people."""

from __future__ import annotations

from dataclasses import dataclass

from mlcycle.demo.source_images import Box


@dataclass(frozen=True, slots=True)
class Study:
    """What the training took.

    Attributes:
        seconds: of training, checks on held-out scenes included.
        images: how many crops were looked at (batches times their size).
        scenes, faces: in the training set.
        multiply_adds: of all passes, forward and backward.
        peak_bytes: the most memory held; 0 if not known.
        average_precision_50: on held-out scenes, of the weights that were frozen.
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
    """The file between the two lives: its name, sha256 in hex, size in bytes, and the seconds that freezing took."""

    name: str
    sha256: str
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the frozen model said of one unseen image.

    Attributes:
        image: name of the file.
        box_4: where the face is by eye, or None where there is none.
        found: boxes (x1 y1 x2 y2, pixels) and scores, best first.
        overlap: the largest intersection over union of a found box with the face; 0 if none.
        milliseconds: from the file to the answer, loading the model not included.
    """

    image: str
    box_4: Box | None
    found: tuple[tuple[Box, float], ...]
    overlap: float
    milliseconds: float

    @property
    def is_right(self) -> bool:
        """Returns whether the face was found (by half its area or more), or rightly none where there is none."""
        return not self.found if self.box_4 is None else self.overlap >= 0.5

    @property
    def verdict(self) -> str:
        """Returns what is to be said of it, in a sentence."""
        score = f"{self.found[0][1]:.2f}" if self.found else ""
        if self.box_4 is None:
            return f"It saw a face where there is none (score {score})." if self.found else "No face here. Right."
        return f"That's a face. (score {score})" if self.is_right else "The face was not found."


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison: what, in training, in inference, and how many times more the first is."""

    what: str
    training: str
    inference: str
    ratio: str


def compare(study: Study, answer: Answer, looking: tuple[int, int]) -> list[Row]:
    """Returns the lines of the comparison.

    Args:
        looking: multiply-adds and peak bytes of one answer.
    """
    multiply_adds, peak_bytes = looking
    return [
        Row(
            "time",
            duration(study.seconds),
            duration(answer.milliseconds / 1000),
            _times(study.seconds * 1000, answer.milliseconds),
        ),
        Row("images seen", f"{study.images:,}", "1", _times(study.images, 1)),
        Row(
            "multiply-adds",
            quantity(study.multiply_adds),
            quantity(multiply_adds),
            _times(study.multiply_adds, multiply_adds),
        ),
        Row("memory at its peak", size(study.peak_bytes), size(peak_bytes), _times(study.peak_bytes, peak_bytes)),
        Row("what changes", "the weights", "nothing", ""),
        Row("what it needs", "labelled faces, torch", "the file, onnxruntime", ""),
    ]


def duration(seconds: float) -> str:
    """Returns e.g. "2 min 5 s", "41 s" or "8.3 ms"."""
    if seconds >= 59.5:
        return f"{int(seconds + 0.5) // 60} min {int(seconds + 0.5) % 60} s"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def quantity(number: float) -> str:
    """Returns a large number in words, e.g. "61 million" or "4.2 trillion"."""
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
    # More digits than two would say more than was measured.
    return f"{quantity(float(f'{ratio:.2g}'))} times"
