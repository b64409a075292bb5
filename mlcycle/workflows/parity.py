"""Do the two ways meet? The same image files through the training pipeline and through the inference pipeline.

Each way runs in a process of its own, the inference one without torch, and writes down what it had after each stage.
This module knows neither; it compares what they wrote, from the file on: decode, orientation, resize, graph, selection.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mlcycle
from mlcycle.errors import GateError

TRAINING_TRACE = "mlcycle.training.trace"
INFERENCE_TRACE = "mlcycle.inference.trace"
Trace = dict[str, np.ndarray]
STAGES = ("decode", "orientation", "resize", "graph", "selection")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the two ways may be apart: pixels (of the input for what the graph gives, of the image for what is
    selected), and score."""

    pixels: float = 0.05
    score: float = 1e-4


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences over all images, and how much was compared."""

    images: int
    faces: int
    pixels: float
    score: float

    def __str__(self) -> str:
        return (
            f"{self.images} images, {self.faces} boxes: largest difference {self.pixels:.2g} px"
            f" and {self.score:.2g} in score"
        )


class StageDiffersError(Exception):
    """One stage gives something else on the two ways; `stage` is one of STAGES."""

    def __init__(self, stage: str, what: str) -> None:
        super().__init__(f"{stage}: {what}")
        self.stage, self.what = stage, what


@dataclass(frozen=True, slots=True)
class Ways:
    """The two ways to compare.

    Attributes:
        subjects: what each runs: a run folder, or a model file.
        programs: the module that runs it and writes the trace.
    """

    subjects: tuple[Path, Path]
    programs: tuple[str, str] = (TRAINING_TRACE, INFERENCE_TRACE)


def check(ways: Ways, images: Sequence[Path], tolerance: Tolerance) -> Difference:
    """Compares two ways over image files.

    Args:
        images: the files; each must be readable on both ways, or on neither.

    Raises:
        GateError: the ways part; the image and the first stage that differs are named.
    """
    with tempfile.TemporaryDirectory(prefix="mlcycle-parity-") as scratch:
        listing = Path(scratch) / "images.txt"
        listing.write_bytes(b"\0".join(os.fsencode(image.resolve()) for image in images))
        folders = (Path(scratch) / "one", Path(scratch) / "other")
        for program, subject, folder in zip(ways.programs, ways.subjects, folders, strict=True):
            folder.mkdir()
            _run(program, subject, listing, folder)
        return compare(images, folders, tolerance)


def compare(images: Sequence[Path], folders: tuple[Path, Path], tolerance: Tolerance) -> Difference:
    """Compares what two traces wrote into these folders, image by image.

    Raises:
        GateError: as in `check`, or nothing could be compared.
    """
    total = Difference(0, 0, 0.0, 0.0)
    for index, image in enumerate(images):
        one, other = (_load(folder / f"{index:05d}.npz") for folder in folders)
        try:
            here = _compare_image(one, other, tolerance)
        except StageDiffersError as difference:
            raise GateError(
                f"training and inference part at the stage {difference.stage!r} on {image.name}: {difference.what}",
                "this is a fault of the program or of a library's version, not of the image; nothing was written",
            ) from None
        total = Difference(
            total.images + here.images,
            total.faces + here.faces,
            max(total.pixels, here.pixels),
            max(total.score, here.score),
        )
    if not total.images:
        raise GateError("no image could be read to compare both ways on", "name readable ones with --images")
    if not total.faces:
        raise GateError(
            f"no box was found on {total.images} images, so nothing could be compared",
            "train longer, or name images with faces by --images",
        )
    return total


def _compare_image(one: Trace, other: Trace, tolerance: Tolerance) -> Difference:
    if "error" in one or "error" in other:
        if ("error" in one) != ("error" in other):
            said = one.get("error", other.get("error"))
            raise StageDiffersError("decode", f"only one of the two could read it ({said})")
        return Difference(0, 0, 0.0, 0.0)
    _same_pixels("decode", one, other, "decode")
    _same_pixels("orientation", one, other, "upright")
    _same_input(one["resized"], other["resized"])
    total = Difference(1, 0, 0.0, 0.0)
    for stage, prefix in (("graph", "graph_"), ("selection", "")):
        here = _same_boxes(stage, (one, other), prefix, tolerance)
        total = Difference(
            1, max(total.faces, here.faces), max(total.pixels, here.pixels), max(total.score, here.score)
        )
    return total


def _same_pixels(stage: str, one: Trace, other: Trace, key: str) -> None:
    shapes = [tuple(int(side) for side in each[f"{key}_shape"]) for each in (one, other)]
    if shapes[0] != shapes[1]:
        raise StageDiffersError(stage, f"{_size(shapes[0])} and {_size(shapes[1])}")
    if str(one[f"{key}_sha256"]) != str(other[f"{key}_sha256"]):
        raise StageDiffersError(stage, "the pixels are not the same")


def _same_input(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape != other.shape:
        raise StageDiffersError("resize", f"{_size(one.shape)} and {_size(other.shape)}")
    worst = int(np.abs(one.astype(np.int16) - other).max(initial=0))
    if worst:
        raise StageDiffersError("resize", f"pixels differ by up to {worst} of 255")


def _same_boxes(stage: str, traces: tuple[Trace, Trace], prefix: str, tolerance: Tolerance) -> Difference:
    """Pairs each box with the nearest of the other way's, so that equal scores in another order are no difference."""
    boxes, others = (each[f"{prefix}boxes"] for each in traces)
    scores, other_scores = (each[f"{prefix}scores"] for each in traces)
    mine, theirs = _pairs(boxes, others, scores, other_scores)
    lonely = np.concatenate((np.delete(scores, mine), np.delete(other_scores, theirs)))
    edge = max(_edge(each, prefix) for each in traces)
    # Only a box at the very edge of what is asked for may fall on either side of it without any fault.
    if (lonely > edge + tolerance.score).any():
        raise StageDiffersError(stage, f"{len(boxes)} and {len(others)} boxes, and not the same ones")
    pixels = _largest(boxes[mine], others[theirs])
    points, other_points = (each[f"{prefix}landmarks"] for each in traces)
    if points.size and other_points.size:
        pixels = max(pixels, _largest(points[mine], other_points[theirs]))
    score = _largest(scores[mine], other_scores[theirs])
    if not (pixels <= tolerance.pixels and score <= tolerance.score):  # so that "not a number" does not pass
        allowed = f"at most {tolerance.pixels:g} px and {tolerance.score:g} are allowed"
        raise StageDiffersError(stage, f"boxes are {pixels:.3g} px and scores {score:.3g} apart; {allowed}")
    return Difference(1, len(mine), pixels, score)


def _edge(trace: Trace, prefix: str) -> float:
    """Returns the score below which a trace has no boxes: the rule's, or its worst box's if it has all it may have."""
    scores, most = trace[f"{prefix}scores"], int(trace["max_faces"])
    least = float(trace[f"{prefix}least_score"])
    return max(least, float(scores.min())) if len(scores) and len(trace["graph_scores"]) >= most else least


def _pairs(
    boxes_N4: np.ndarray, others_M4: np.ndarray, scores_N: np.ndarray, scores_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of boxes that are each other's nearest: in place, and in score where places are equal."""
    if not len(boxes_N4) or not len(others_M4):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    apart_NM = np.abs(boxes_N4[:, None].astype(np.float64) - others_M4[None]).max(axis=2)
    apart_NM += np.abs(scores_N[:, None].astype(np.float64) - scores_M[None])
    nearest_N, nearest_M = apart_NM.argmin(axis=1), apart_NM.argmin(axis=0)
    mutual = np.flatnonzero(nearest_M[nearest_N] == np.arange(len(boxes_N4)))
    return mutual, nearest_N[mutual]


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"


def _load(path: Path) -> Trace:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _run(module: str, subject: Path, listing: Path, folder: Path) -> None:
    # The very package that is running, wherever it was started from.
    package = str(Path(mlcycle.__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), package)))
    done = subprocess.run(
        [sys.executable, "-m", module, subject, listing, folder],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise GateError(f"{module} failed with exit code {done.returncode}: {last}", f"python -m {module} shows more")
