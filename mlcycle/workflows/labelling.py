"""The conductor of `mlcycle data label`: a frozen file and images without labels → a labelled set.

Faces that the model is sure of become labels. Those that it may have seen become boxes to be ignored, neither face nor
background, so that a student learns nothing from its teacher's doubts (as between the two thresholds of self-training
for detectors, e.g. Xu et al. 2021, "End-to-End Semi-Supervised Object Detection with Soft Teacher", which weighs them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mlcycle
from mlcycle.artifact.contract import Contract
from mlcycle.datasets import image_header
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.errors import DataError, InputError, UsageError
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.detect import Detector
from mlcycle.inference.record import Source
from mlcycle.inference.sources import from_folder, from_names
from mlcycle.workflows.predictions import Answer, answer_all, open_detector

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How a set is labelled.

    Attributes:
        threshold: the least score of a label; None takes the contract's "balanced".
        ignore_from: the least score of a box to be ignored; None takes the contract's "sensitive", else its floor.
        keep_empty: whether images on which the model saw nothing, not even doubtfully, are part of the set.
        long_side: the input's long side in pixels; None takes the contract's, 0 the image's own size.
        workers: threads; 0 takes one for each core.
    """

    threshold: float | None = None
    ignore_from: float | None = None
    keep_empty: bool = True
    long_side: int | None = None
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a model made of images.

    Attributes:
        images: with their labels and, in `scores_N`, what the model gave each box.
        empty: how many images without any box were looked at, whether or not they were kept.
        unusable: the name and a sentence of each image that could not be read, and is not in the set.
        origin: which model made the labels, and how; for the set's file.
    """

    images: list[LabelledImage]
    empty: int
    unusable: list[tuple[str, str]]
    origin: dict[str, Any]

    def faces(self) -> int:
        """Returns how many faces are labelled."""
        return sum(int((~each.ignore_N).sum()) for each in self.images)

    def ignored(self) -> int:
        """Returns how many boxes are to be ignored."""
        return sum(int(each.ignore_N.sum()) for each in self.images)


def label(model: Path, named: Sequence[Path], options: Options, started: Callable[[int], Advance]) -> Labelled:
    """Asks a frozen file about images and takes its answers for labels.

    Args:
        named: images, and folders of images.
        started: called once with the number of images; what it returns is called with 1 after each.

    Raises:
        UsageError: thresholds that make no sense, or a long side for a file with an input of one size.
        ModelFileError: the model file cannot be used, or is a run's folder.
        InputError: a folder cannot be read, or no image was found.
    """
    detector = open_detector(model, options.long_side)
    thresholds = _thresholds(detector.contract, options)
    sources = _images(named)
    advance = started(len(sources))
    found, unusable, empty = [], [], 0
    workers = min(options.workers or cores(), len(sources))
    answers = answer_all(detector, [each.path for each in sources], options.long_side, workers)
    for source, answer in zip(sources, answers, strict=True):
        advance(1)
        problem = answer.error[1] if answer.error else _why_not_trainable(source.path)
        if problem:
            unusable.append((source.key, problem))
            continue
        image = _labelled(source, answer, *thresholds)
        is_empty = not len(image.boxes_N4)
        empty += is_empty
        if options.keep_empty or not is_empty:
            found.append(image)
    return Labelled(found, empty, unusable, _origin(detector, thresholds, options))


def _thresholds(contract: Contract, options: Options) -> tuple[float, float]:
    """Returns the least score of a label, and of a box to be ignored."""
    points, floor = contract.thresholds, contract.selection.score_floor
    threshold = points["balanced"] if options.threshold is None else options.threshold
    low = min(points.get("sensitive", floor), threshold) if options.ignore_from is None else options.ignore_from
    if not floor <= low <= threshold <= 1:
        raise UsageError(
            f"labels from {threshold:g} and boxes to be ignored from {low:g} are no thresholds of this file",
            f"--ignore-from lies between the file's floor, {floor:g}, and --threshold, and that is at most 1",
        )
    return threshold, low


def _images(named: Sequence[Path]) -> list[Source]:
    sources: list[Source] = []
    for each in named:
        sources += from_folder(each) if each.is_dir() else from_names([str(each)], _no_standard_input)
    if not sources:
        raise InputError("there is no image to label", "name images, or a folder that holds some")
    return sources


def _no_standard_input() -> bytes:
    raise UsageError("a set is made of files, not of standard input", "name images or folders")


def _why_not_trainable(path: Path) -> str:
    """Says why an image that inference reads cannot be trained on, or nothing."""
    try:
        image_header.upright_size(path)
    except DataError as problem:
        return f"inference reads it, and training does not: {problem.message}"
    return ""


def _labelled(source: Source, answer: Answer, threshold: float, ignore_from: float) -> LabelledImage:
    has_sides_M = (answer.boxes_M4[:, 2:] > answer.boxes_M4[:, :2]).all(axis=1)
    kept_M = has_sides_M & (answer.scores_M >= ignore_from)
    ignore_N = answer.scores_M[kept_M] < threshold
    landmarks_N52 = np.full((len(ignore_N), 5, 2), np.nan, np.float32)
    if answer.landmarks_M52 is not None:
        landmarks_N52[:] = answer.landmarks_M52[kept_M]
    return LabelledImage(
        path=source.path,
        name=source.key,
        boxes_N4=answer.boxes_M4[kept_M].astype(np.float32),
        ignore_N=ignore_N,
        landmarks_N52=landmarks_N52,
        scores_N=answer.scores_M[kept_M].astype(np.float32),
    )


def _origin(detector: Detector, thresholds: tuple[float, float], options: Options) -> dict[str, Any]:
    long_side = detector.contract.resize.long_side if options.long_side is None else options.long_side
    return {
        "description": "labels that a model made: no person has looked at them",
        "model": detector.contract.name,
        "model_sha256": detector.sha256,
        "threshold": thresholds[0],
        "ignore_from": thresholds[1],
        "long_side": long_side or "original",
        "images_without_a_box": "kept" if options.keep_empty else "left out",
        "mlcycle": mlcycle.__version__,
    }
