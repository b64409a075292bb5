"""Conductor of `mlcycle data suspects`: a model file and a labelled set → likely label errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.datasets import image_header, reading
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.errors import DataError
from mlcycle.evaluation.contradiction import NO_FACE, Contradiction, contradictions
from mlcycle.evaluation.evidence import Case
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.detect import Detector
from mlcycle.workflows.predictions import Prediction, open_detector, predict_all

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A likely label error.

    Attributes:
        image: with all of its labels.
        label: the number of the label in the image, from 1; 0 for a face without a label.
        kind: one of mlcycle.evaluation.contradiction.KINDS.
        bits: the evidence of an error: a log2 ratio, explained in mlcycle.evaluation.contradiction.
        score: of the detection there, or 0.
        overlap: of label and detection, intersection over union.
        labelled_4, suggested_4: x1 y1 x2 y2 in pixels of the upright image; None without a label or detection.
    """

    image: LabelledImage
    label: int
    kind: str
    bits: float
    score: float
    overlap: float
    labelled_4: np.ndarray | None
    suggested_4: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Suspects:
    """All labels, and all detections without one, the most suspicious first.

    `unreadable` has name, error code and sentence of each image that could not be read; its labels are not checked.
    """

    listed: list[Suspect]
    images: int
    labels: int
    unreadable: list[tuple[str, str, str]]
    model: str

    def likely(self) -> list[Suspect]:
        """Returns those whose evidence is more frequent at wrong labels than at the labels of this set."""
        return [each for each in self.listed if each.bits > 0]


@dataclass(frozen=True, slots=True)
class Options:
    """The images to check, and the inference options.

    Attributes:
        split: of the data set; can be "" if it has only one.
        long_sides: the input's long sides in pixels, 0 for the image's own size; None takes the contract's.
        workers: number of threads; 0 takes one for each core.
    """

    split: str = ""
    long_sides: tuple[int, ...] | None = None
    workers: int = 0


def find_suspects(model: Path, data: Path, options: Options, started: Callable[[int], Advance]) -> Suspects:
    """Runs a model on every image of a set, and ranks the labels by how much its detections contradict them.

    Args:
        started: called once with the number of images; the function that it returns is called with 1 after each.

    Raises:
        UsageError: a long side was requested for a model with a fixed input size.
        ModelFileError: the model file cannot be used, or is a run's folder.
        DataError: the labelled set cannot be read, or has no labels.
    """
    detector = open_detector(model, options.long_sides)
    images = reading.read(data, options.split)
    predictions = []
    advance = started(len(images))
    workers = min(options.workers or cores(), len(images))
    for prediction in predict_all(detector, [each.path for each in images], options.long_sides, workers):
        predictions.append(prediction)
        advance(1)
    return rank(images, predictions, detector, options.long_sides)


def rank(
    images: list[LabelledImage], predictions: list[Prediction], detector: Detector, long_sides: tuple[int, ...] | None
) -> Suspects:
    """Ranks the labels of images by how much the predictions of a detector contradict them.

    Raises:
        DataError: none of the images that could be read has a label.
    """
    pairs = list(zip(images, predictions, strict=True))
    readable = [(image, prediction) for image, prediction in pairs if prediction.error is None]
    cases = [_case(image, prediction, detector.input_sides(long_sides)) for image, prediction in readable]
    labels = sum(int((~case.ignore_N).sum()) for case in cases)
    if not labels:
        raise DataError("no labels to check in this set", "pass a set, or a split, with labelled faces")
    return Suspects(
        listed=[_suspect(each, *readable[each.case]) for each in contradictions(cases)],
        images=len(images),
        labels=labels,
        unreadable=[(image.name, *prediction.error) for image, prediction in pairs if prediction.error is not None],
        model=detector.contract.name,
    )


def _case(image: LabelledImage, prediction: Prediction, long_sides: tuple[int, ...]) -> Case:
    size = _size(image)
    input_side = max(size) if 0 in long_sides else max(long_sides)
    return Case(
        boxes_N4=image.boxes_N4.astype(float),
        ignore_N=image.ignore_N,
        points_N52=image.landmarks_N52.astype(float),
        found_M4=prediction.boxes_M4.astype(float),
        scores_M=prediction.scores_M.astype(float),
        found_points_M52=prediction.landmarks_M52,
        size=size,
        shrink=min(1.0, input_side / max(size)),
    )


def _size(image: LabelledImage) -> tuple[int, int]:
    """Returns width, height in pixels; for a format that only inference reads, those that the labels state."""
    try:
        return image_header.upright_size(image.path)
    except DataError:
        if image.size is None:
            raise
        return image.size


def _suspect(found: Contradiction, image: LabelledImage, prediction: Prediction) -> Suspect:
    has_suggestion = found.found >= 0 and found.kind != NO_FACE
    return Suspect(
        image=image,
        label=found.label + 1,
        kind=found.kind,
        bits=found.bits,
        score=found.score,
        overlap=found.overlap,
        labelled_4=image.boxes_N4[found.label] if found.label >= 0 else None,
        suggested_4=prediction.boxes_M4[found.found] if has_suggestion else None,
    )
