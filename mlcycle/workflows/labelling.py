"""Conductor of `mlcycle data label`: a model file and images without labels → a labelled set.

Detections with a high score become labels. Those with a lower score become boxes to be ignored, neither face nor
background, so that a student is not trained on uncertain labels of its teacher (as with the two thresholds of
self-training for detectors; Xu et al. 2021, "End-to-End Semi-Supervised Object Detection with Soft Teacher", weigh
such boxes instead).
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
from mlcycle.workflows.predictions import Prediction, open_detector, predict_all

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to label a set.

    Attributes:
        threshold: the least score of a label; None takes the contract's "balanced".
        ignore_from: the least score of a box to be ignored; None takes the contract's "sensitive", else its floor.
        keep_empty: whether images without any box, labelled or ignored, are part of the set.
        long_sides: the input's long sides in pixels, 0 for the image's own size; None takes the contract's.
        workers: number of threads; 0 takes one for each core.
    """

    threshold: float | None = None
    ignore_from: float | None = None
    keep_empty: bool = True
    long_sides: tuple[int, ...] | None = None
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images that were labelled by a model.

    Attributes:
        images: with their labels and, in `scores_N`, the score of each box.
        empty: number of images without any box, whether or not they were kept.
        unusable: the name and a sentence for each image that could not be read, and is not in the set.
        origin: the model and options that made the labels, for the "info" of the set's file.
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


def label(model: Path, paths: Sequence[Path], options: Options, started: Callable[[int], Advance]) -> Labelled:
    """Runs a model on images and labels them with its detections.

    Args:
        paths: images, and folders of images.
        started: called once with the number of images; the function that it returns is called with 1 after each.

    Raises:
        UsageError: invalid thresholds, or a long side for a model with a fixed input size.
        ModelFileError: the model file cannot be used, or is a run's folder.
        InputError: a folder cannot be read, or no image was found.
    """
    detector = open_detector(model, options.long_sides)
    thresholds = _thresholds(detector.contract, options)
    sources = _images(paths)
    advance = started(len(sources))
    found, unusable, empty = [], [], 0
    workers = min(options.workers or cores(), len(sources))
    predictions = predict_all(detector, [each.path for each in sources], options.long_sides, workers)
    for source, prediction in zip(sources, predictions, strict=True):
        advance(1)
        problem = prediction.error[1] if prediction.error else _why_not_trainable(source.path)
        if problem:
            unusable.append((source.key, problem))
            continue
        image = _labelled(source, prediction, *thresholds)
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
            f"{threshold:g} for labels and {low:g} for boxes to be ignored are not valid thresholds of this model",
            f"choose --ignore-from from {floor:g}, the model's score floor, to --threshold, and --threshold up to 1",
        )
    return threshold, low


def _images(paths: Sequence[Path]) -> list[Source]:
    sources: list[Source] = []
    for each in paths:
        sources += from_folder(each) if each.is_dir() else from_names([str(each)], _no_standard_input)
    if not sources:
        raise InputError("no images to label", "pass images, or a folder of images")
    return sources


def _no_standard_input() -> bytes:
    raise UsageError("images to label cannot come from standard input", "pass images or folders")


def _why_not_trainable(path: Path) -> str:
    """Returns why an image that inference reads cannot be trained on; "" if it can."""
    try:
        image_header.upright_size(path)
    except DataError as problem:
        return f"inference can read it, but training cannot: {problem.message}"
    return ""


def _labelled(source: Source, prediction: Prediction, threshold: float, ignore_from: float) -> LabelledImage:
    has_sides_M = (prediction.boxes_M4[:, 2:] > prediction.boxes_M4[:, :2]).all(axis=1)
    kept_M = has_sides_M & (prediction.scores_M >= ignore_from)
    ignore_N = prediction.scores_M[kept_M] < threshold
    landmarks_N52 = np.full((len(ignore_N), 5, 2), np.nan, np.float32)
    if prediction.landmarks_M52 is not None:
        landmarks_N52[:] = prediction.landmarks_M52[kept_M]
    return LabelledImage(
        path=source.path,
        name=source.key,
        boxes_N4=prediction.boxes_M4[kept_M].astype(np.float32),
        ignore_N=ignore_N,
        landmarks_N52=landmarks_N52,
        scores_N=prediction.scores_M[kept_M].astype(np.float32),
    )


def _origin(detector: Detector, thresholds: tuple[float, float], options: Options) -> dict[str, Any]:
    sides = [each or "original" for each in detector.input_sides(options.long_sides)]
    return {
        "description": "labels made by a model, not checked by people",
        "model": detector.contract.name,
        "model_sha256": detector.sha256,
        "threshold": thresholds[0],
        "ignore_from": thresholds[1],
        "long_side": sides[0] if len(sides) == 1 else sides,
        "images_without_a_box": "kept" if options.keep_empty else "left out",
        "mlcycle": mlcycle.__version__,
    }
