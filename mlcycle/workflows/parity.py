"""Compares the training pipeline and the inference pipeline on the same image files.

Each pipeline runs in its own subprocess, the inference one without torch, and writes a trace: its values after each
stage. This module imports neither; it compares the traces: decode, orientation, resize, graph, selection.
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
from mlcycle.counted import counted
from mlcycle.errors import GateError
from mlcycle.evaluation.matching import overlaps

TRAINING_TRACE = "mlcycle.training.trace"
INFERENCE_TRACE = "mlcycle.inference.trace"
Trace = dict[str, np.ndarray]
STAGES = ("decode", "orientation", "resize", "graph", "selection")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest allowed differences: in pixels (of the input for the graph, of the image for selected boxes), and in
    score."""

    pixels: float = 0.05
    score: float = 1e-4


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences over all images, and the numbers of images and boxes compared."""

    images: int
    faces: int
    pixels: float
    score: float

    def __str__(self) -> str:
        return (
            f"{counted(self.images, 'image')}, {counted(self.faces, 'box', 'boxes')}: largest difference"
            f" {self.pixels:.2g} px and {self.score:.2g} in score"
        )


class StageDiffersError(Exception):
    """The result of a stage differs between the pipelines; `stage` is one of STAGES."""

    def __init__(self, stage: str, what: str) -> None:
        super().__init__(f"{stage}: {what}")
        self.stage, self.what = stage, what


@dataclass(frozen=True, slots=True)
class Pipelines:
    """The two pipelines to compare.

    Attributes:
        models: what each runs: a run folder or a model file.
        modules: the modules that run them and write the traces.
    """

    models: tuple[Path, Path]
    modules: tuple[str, str] = (TRAINING_TRACE, INFERENCE_TRACE)


def check(pipelines: Pipelines, images: Sequence[Path], tolerance: Tolerance) -> Difference:
    """Compares two pipelines on image files.

    Args:
        images: the files; each must be readable by both pipelines or by neither.

    Raises:
        GateError: the pipelines disagree; the error names the image and the first stage that differs.
    """
    with tempfile.TemporaryDirectory(prefix="mlcycle-parity-") as scratch:
        listing = Path(scratch) / "images.txt"
        listing.write_bytes(b"\0".join(os.fsencode(image.resolve()) for image in images))
        folders = (Path(scratch) / "one", Path(scratch) / "other")
        for module, model, folder in zip(pipelines.modules, pipelines.models, folders, strict=True):
            folder.mkdir()
            _run(module, model, listing, folder)
        return compare(images, folders, tolerance)


def compare(images: Sequence[Path], folders: tuple[Path, Path], tolerance: Tolerance) -> Difference:
    """Compares the traces in two folders, image by image.

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
                f"training and inference disagree at the stage {difference.stage!r} on {image.name}: {difference.what}",
                "this is a fault of mlcycle or of a library's version, not of the image; nothing was written",
            ) from None
        total = Difference(
            total.images + here.images,
            total.faces + here.faces,
            max(total.pixels, here.pixels),
            max(total.score, here.score),
        )
    if not total.images:
        raise GateError(
            "none of the images can be read, so both pipelines cannot be compared", "pass readable images with --images"
        )
    if not total.faces:
        raise GateError(
            f"no box was found on {counted(total.images, 'image')}, so nothing could be compared",
            "train longer, or pass images with faces with --images",
        )
    return total


def _compare_image(one: Trace, other: Trace, tolerance: Tolerance) -> Difference:
    if "error" in one or "error" in other:
        if ("error" in one) != ("error" in other):
            error = one.get("error", other.get("error"))
            raise StageDiffersError("decode", f"only one pipeline could read it ({error})")
        return Difference(0, 0, 0.0, 0.0)
    _same_pixels("decode", one, other, "decode")
    _same_pixels("orientation", one, other, "upright")
    _same_input(one["resized"], other["resized"])
    one = _with_ties_of(other, one, tolerance)
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
    """Pairs each box with the nearest of the other pipeline, so that the order of equal scores makes no difference."""
    boxes, others = (each[f"{prefix}boxes"] for each in traces)
    scores, other_scores = (each[f"{prefix}scores"] for each in traces)
    mine, theirs = _pairs(boxes, others, scores, other_scores)
    unpaired_scores = np.concatenate((np.delete(scores, mine), np.delete(other_scores, theirs)))
    edge = max(_edge(each, prefix) for each in traces)
    # Only a box at the score threshold can be found by one pipeline alone without a fault.
    if (unpaired_scores > edge + tolerance.score).any():
        raise StageDiffersError(stage, f"{len(boxes)} and {len(others)} boxes, which do not match")
    pixels = _largest(boxes[mine], others[theirs])
    points, other_points = (each[f"{prefix}landmarks"] for each in traces)
    if points.size and other_points.size:
        pixels = max(pixels, _largest(points[mine], other_points[theirs]))
    score = _largest(scores[mine], other_scores[theirs])
    if not (pixels <= tolerance.pixels and score <= tolerance.score):  # so that "not a number" does not pass
        allowed = f"at most {tolerance.pixels:g} px and {tolerance.score:g} are allowed"
        raise StageDiffersError(stage, f"boxes differ by {pixels:.3g} px and scores by {score:.3g}; {allowed}")
    return Difference(1, len(mine), pixels, score)


def _with_ties_of(other: Trace, one: Trace, tolerance: Tolerance) -> Trace:
    """Returns the training trace `one` with the candidates that inference has kept in place of equal ones.

    Of two candidates for one face whose scores differ by no more than those of the pipelines do, either may suppress
    the other.
    """
    boxes, scores, found = one["graph_boxes"], one["graph_scores"], other["graph_boxes"]
    scales = {"boxes": np.tile(one["scale"], 2), "scores": 1, "landmarks": one["scale"]}
    made = one | {f"{prefix}{name}": one[f"{prefix}{name}"].copy() for name in scales for prefix in ("graph_", "")}
    for mine, theirs in zip(*_pairs(boxes, found, scores, other["graph_scores"]), strict=True):
        if _largest(boxes[mine], found[theirs]) <= tolerance.pixels:
            continue
        is_tie = np.abs(one["candidate_scores"] - scores[mine]) <= tolerance.score
        is_tie &= np.abs(one["candidate_boxes"] - found[theirs]).max(axis=1) <= tolerance.pixels
        is_tie &= overlaps(one["candidate_boxes"], boxes[[mine]], np.zeros(1, bool))[:, 0] > one["iou_threshold"]
        for name, scale in scales.items():
            for tie in one[f"candidate_{name}"][is_tie][:1]:
                made[f"graph_{name}"][mine] = tie
                # The selected boxes are the first of the graph's, so a box that was not selected has no row here.
                made[name][mine : mine + 1] = tie * scale
    return made


def _edge(trace: Trace, prefix: str) -> float:
    """Returns the score below which a trace has no boxes: the threshold, or its least score if it is full."""
    scores, most = trace[f"{prefix}scores"], int(trace["max_faces"])
    least = float(trace[f"{prefix}least_score"])
    return max(least, float(scores.min())) if len(scores) and len(trace["graph_scores"]) >= most else least


def _pairs(
    boxes_N4: np.ndarray, others_M4: np.ndarray, scores_N: np.ndarray, scores_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of boxes that are each other's nearest, by coordinates and score."""
    if not len(boxes_N4) or not len(others_M4):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    distance_NM = np.abs(boxes_N4[:, None].astype(np.float64) - others_M4[None]).max(axis=2)
    distance_NM += np.abs(scores_N[:, None].astype(np.float64) - scores_M[None])
    nearest_N, nearest_M = distance_NM.argmin(axis=1), distance_NM.argmin(axis=0)
    mutual = np.flatnonzero(nearest_M[nearest_N] == np.arange(len(boxes_N4)))
    return mutual, nearest_N[mutual]


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"


def _load(path: Path) -> Trace:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _run(module: str, model: Path, listing: Path, folder: Path) -> None:
    # The package that is running, whatever the working directory.
    package = str(Path(mlcycle.__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), package)))
    done = subprocess.run(
        [sys.executable, "-m", module, model, listing, folder],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise GateError(f"{module} failed with exit code {done.returncode}: {last}", f"run python -m {module} for more")
