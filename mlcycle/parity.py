"""Do the two ways meet? The same photo files through the training pipeline and through the inference pipeline.

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

from mlcycle.errors import GateError

TRAINING_TRACE = "mlcycle.training.trace"
INFERENCE_TRACE = "mlcycle.inference.trace"
STAGES = ("decode", "orientation", "resize", "graph", "selection")
# Two boxes whose scores are this close to the rule's threshold may fall on different sides of it without any fault.
NEAR_THRESHOLD = 1e-3


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the two ways may be apart: pixels of the photograph, and score."""

    pixels: float = 0.05
    score: float = 1e-4


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences over all photographs, and how much was compared."""

    photographs: int
    faces: int
    pixels: float
    score: float

    def __str__(self) -> str:
        return (
            f"{self.photographs} photographs, {self.faces} boxes: largest difference {self.pixels:.2g} px"
            f" and {self.score:.2g} in score"
        )


class StageDiffers(Exception):
    """One stage gives something else on the two ways; `stage` is one of STAGES."""

    def __init__(self, stage: str, what: str) -> None:
        super().__init__(f"{stage}: {what}")
        self.stage, self.what = stage, what


def check(
    subjects: tuple[Path, Path], photos: Sequence[Path], tolerance: Tolerance, modules: tuple[str, str] = (TRAINING_TRACE, INFERENCE_TRACE)
) -> Difference:
    """Compares both ways over photo files.

    Args:
        subjects: what the training way runs (a run folder), and what the inference way runs (a model file).
        photos: the files; each must be readable on both ways, or on neither.
        modules: the programs that run the two ways.

    Raises:
        GateError: the ways part; the photograph and the first stage that differs are named.
    """
    with tempfile.TemporaryDirectory(prefix="mlcycle-parity-") as scratch:
        listing = Path(scratch) / "photos.txt"
        listing.write_bytes(b"\n".join(os.fsencode(photo.resolve()) for photo in photos) + b"\n")
        folders = [Path(scratch) / name for name in ("training", "inference")]
        for module, subject, folder in zip(modules, subjects, folders, strict=True):
            folder.mkdir()
            _run(module, subject, listing, folder)
        return compare(photos, folders[0], folders[1], tolerance)


def compare(photos: Sequence[Path], training: Path, inference: Path, tolerance: Tolerance) -> Difference:
    """Compares what two traces wrote into these folders, photograph by photograph.

    Raises:
        GateError: as in `check`, or nothing could be compared.
    """
    total = Difference(0, 0, 0.0, 0.0)
    for index, photo in enumerate(photos):
        one, other = (_load(folder / f"{index:05d}.npz") for folder in (training, inference))
        try:
            here = _compare_photo(one, other, tolerance)
        except StageDiffers as difference:
            raise GateError(
                f"training and inference part at the stage {difference.stage!r} on {photo.name}: {difference.what}",
                "this is a fault of the program or of a library's version, not of the photograph; nothing was written",
            ) from None
        total = Difference(
            total.photographs + here.photographs,
            total.faces + here.faces,
            max(total.pixels, here.pixels),
            max(total.score, here.score),
        )
    if not total.photographs:
        raise GateError("no photograph could be read to compare both ways on", "name readable ones with --photos")
    return total


def _compare_photo(one: dict[str, np.ndarray], other: dict[str, np.ndarray], tolerance: Tolerance) -> Difference:
    if "error" in one or "error" in other:
        if ("error" in one) != ("error" in other):
            said = one.get("error", other.get("error"))
            raise StageDiffers("decode", f"only one of the two could read it ({said})")
        return Difference(0, 0, 0.0, 0.0)
    _same_pixels("decode", one, other, "decode")
    _same_pixels("orientation", one, other, "upright")
    _same_input(one["resized"], other["resized"])
    graph = _same_boxes("graph", one, other, tolerance, prefix="graph_")
    selection = _same_boxes("selection", one, other, tolerance, prefix="")
    return Difference(1, graph.faces, max(graph.pixels, selection.pixels), max(graph.score, selection.score))


def _same_pixels(stage: str, one: dict[str, np.ndarray], other: dict[str, np.ndarray], key: str) -> None:
    shapes = [tuple(int(side) for side in each[f"{key}_shape"]) for each in (one, other)]
    if shapes[0] != shapes[1]:
        raise StageDiffers(stage, f"training has {_size(shapes[0])}, inference {_size(shapes[1])}")
    if str(one[f"{key}_sha256"]) != str(other[f"{key}_sha256"]):
        raise StageDiffers(stage, "the pixels are not the same")


def _same_input(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape != other.shape:
        raise StageDiffers("resize", f"training has {_size(one.shape)}, inference {_size(other.shape)}")
    worst = int(np.abs(one.astype(np.int16) - other).max(initial=0))
    if worst:
        raise StageDiffers("resize", f"pixels differ by up to {worst} of 255")


def _same_boxes(
    stage: str, one: dict[str, np.ndarray], other: dict[str, np.ndarray], tolerance: Tolerance, *, prefix: str
) -> Difference:
    """Pairs each box with the nearest of the other way's, so that equal scores in another order are no difference."""
    boxes, scores = one[f"{prefix}boxes"], one[f"{prefix}scores"]
    boxes_there, scores_there = other[f"{prefix}boxes"], other[f"{prefix}scores"]
    if not len(boxes) and not len(boxes_there):
        return Difference(1, 0, 0.0, 0.0)
    if not len(boxes) or not len(boxes_there):
        raise StageDiffers(stage, f"training finds {len(boxes)} boxes, inference {len(boxes_there)}")
    apart = np.abs(boxes[:, None].astype(np.float64) - boxes_there[None]).max(axis=2)
    apart = np.maximum(apart, np.abs(scores[:, None].astype(np.float64) - scores_there[None]) * 1e3)
    nearest, back = apart.argmin(axis=1), apart.argmin(axis=0)
    mutual = back[nearest] == np.arange(len(boxes))
    lonely = np.concatenate((scores[~mutual], np.delete(scores_there, nearest[mutual])))
    edge = min(scores.min(), scores_there.min())
    if (lonely > edge + NEAR_THRESHOLD).any():
        raise StageDiffers(
            stage, f"training finds {len(boxes)} boxes, inference {len(boxes_there)}, and not the same ones"
        )
    pixels = _largest(boxes[mutual], boxes_there[nearest[mutual]])
    if f"{prefix}landmarks" in one and one[f"{prefix}landmarks"].size:
        pixels = max(pixels, _largest(one[f"{prefix}landmarks"][mutual], other[f"{prefix}landmarks"][nearest[mutual]]))
    score = _largest(scores[mutual], scores_there[nearest[mutual]])
    if pixels > tolerance.pixels or score > tolerance.score:
        raise StageDiffers(
            stage,
            f"boxes are {pixels:.3g} px and scores {score:.3g} apart; at most {tolerance.pixels:g} px and {tolerance.score:g} are allowed",
        )
    return Difference(1, int(mutual.sum()), pixels, score)


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _run(module: str, subject: Path, listing: Path, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, subject, listing, folder], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise GateError(f"{module} failed with exit code {done.returncode}: {last}", f"python -m {module} shows more")
