"""Conductor of `mlcycle evaluate`: a model file and labelled images → metrics. Read it top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from mlcycle.datasets import reading
from mlcycle.datasets.attributes import FaceAttributes, read_attributes
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.errors import DataError
from mlcycle.evaluation import (
    attributes,
    bootstrap,
    coco,
    groups,
    landmarks,
    operating_point,
    wider,
    wider_ground_truth,
)
from mlcycle.evaluation.matches import Matches, match_images
from mlcycle.evaluation.metrics import Intervals, Metrics, Subject, WiderMetrics
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.detect import Detector, load_detector
from mlcycle.reporting import document, table
from mlcycle.workflows.predictions import Prediction, predict_all

# COCO uses 100; images of crowds have more faces than that.
MAX_DETECTIONS = 1000
FALSE_ALARMS_PER_IMAGE = 0.1

OfficialFaces = dict[str, wider_ground_truth.OfficialFaces]
Advance = Callable[[int], None]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Options:
    """The images to evaluate on, and the inference options.

    Attributes:
        split: of the data set; "" takes val if it exists, else the only split.
        long_sides: the input's long sides in pixels, 0 for the image's own size; None takes the contract's.
        workers: number of threads; 0 takes one for each core, or one for a detector that is loaded already.
        limit: the most images to use, spread evenly over the set; 0 takes all.
        attributes: a CSV file of attributes of the faces, or None.
        official: whether to compute the official metrics of WIDER FACE if its ground truth exists, which needs scipy.
    """

    split: str = ""
    long_sides: tuple[int, ...] | None = None
    workers: int = 0
    limit: int = 0
    attributes: Path | None = None
    official: bool = True


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics, and what they are computed from: images and their predictions, in the same order, and the matches
    of labels and detections."""

    metrics: Metrics
    matches: Matches
    images: list[LabelledImage]
    predictions: list[Prediction]

    def to_dict(self) -> dict[str, Any]:
        """Returns the metrics as `mlcycle evaluate --format json` prints them; undefined ones are None."""
        return document.as_dict(self.metrics)

    def __str__(self) -> str:
        """Returns the metrics as the table that `mlcycle evaluate` prints."""
        return table.as_table(self.metrics)

    def detections(self) -> Iterator[tuple[str, tuple[Any, Any], np.ndarray, np.ndarray]]:
        """Yields name, ids of image and category, boxes_M4 and scores_M of each image.

        The ids are those of the COCO file that the labels come from; else images are numbered from 1 and faces are 1.
        """
        for number, (image, prediction) in enumerate(zip(self.images, self.predictions, strict=True), 1):
            yield image.name, image.coco_ids or (number, 1), prediction.boxes_M4, prediction.scores_M


def evaluate(model: Path | Detector, data: Path, options: Options, started: Callable[[int], Advance]) -> Evaluation:
    """Runs a model on labelled images and computes its metrics.

    Args:
        model: a model file, which is verified; or a detector that is loaded already, best with one thread.
        data: a labelled set in any layout that mlcycle.datasets reads.
        options: see Options.
        started: called once with the number of images, before the first; the function that it returns is called
            with 1 after each.

    Raises:
        UsageError: a long side was requested for a model with a fixed input size.
        ModelFileError: the model file cannot be used.
        DataError: the labelled set, the ground truth of WIDER FACE in its folder, or the attributes cannot be read.
        ModuleNotFoundError: such ground truth exists, and scipy is not installed.
    """
    detector = model if isinstance(model, Detector) else load_detector(model, provider="cpu", threads=1)
    detector.check_long_sides(options.long_sides)
    split = options.split or _default_split(data)
    images = spread(reading.read(data, split), options.limit)
    official = _official(data, split) if options.official else {}
    faces = _faces(images, read_attributes(options.attributes)) if options.attributes else None
    workers = min(options.workers or (1 if isinstance(model, Detector) else cores()), len(images))
    predictions = []
    advance = started(len(images))
    for prediction in predict_all(detector, [each.path for each in images], options.long_sides, workers):
        predictions.append(prediction)
        advance(1)
    subject = Subject(
        model=detector.contract.name,
        sha256=detector.sha256,
        data=str(data),
        split=split,
        fingerprint=reading.fingerprint(images),
        ignored=sum(int(each.ignore_N.sum()) for each in images),
        unreadable=_unreadable(images, predictions),
        long_sides=detector.input_sides(options.long_sides),
        score_floor=detector.contract.selection.score_floor,
        max_detections=MAX_DETECTIONS,
        workers=workers,
    )
    inputs = _Inputs(images, predictions, detector.contract.thresholds["balanced"], detector.contract.landmarks, faces)
    return _evaluation(subject, inputs, official)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What the metrics are computed from: images, their predictions, the score threshold, the landmarks' names, and the
    faces that have attributes."""

    images: list[LabelledImage]
    predictions: list[Prediction]
    threshold: float
    landmarks: tuple[str, ...]
    faces: attributes.LabelledFaces | None


def _evaluation(subject: Subject, inputs: _Inputs, official: OfficialFaces) -> Evaluation:
    images, predictions, threshold = inputs.images, inputs.predictions, inputs.threshold
    matches = match_images(
        [(each.boxes_N4, each.ignore_N) for each in images],
        [(each.boxes_M4, each.scores_M) for each in predictions],
        max_detections=subject.max_detections,
    )
    weights_BP = bootstrap.weights(len(images))
    metrics = Metrics(
        subject=subject,
        coco=coco.summarise(matches),
        wider=_wider(images, predictions, official) if official else None,
        balanced=operating_point.at_threshold(matches, threshold),
        quiet=operating_point.at_false_alarms(matches, FALSE_ALARMS_PER_IMAGE),
        intervals=_intervals(matches, threshold, weights_BP),
        face_free=_face_free(matches, inputs),
        landmarks=_landmarks(matches, inputs),
        groups=groups.by_group(matches, [each.group for each in images], threshold),
        attributes=attributes.by_attribute(matches, inputs.faces, threshold) if inputs.faces else [],
        milliseconds=_mean_milliseconds(predictions),
    )
    return Evaluation(metrics, matches, images, predictions)


def _intervals(matches: Matches, threshold: float, weights_BP: np.ndarray) -> Intervals:
    ap_B, ap50_B = coco.drawn(matches, weights_BP)
    balanced_recall, balanced_false_alarms = operating_point.threshold_intervals(matches, threshold, weights_BP)
    quiet_recall = operating_point.false_alarms_interval(matches, FALSE_ALARMS_PER_IMAGE, weights_BP)
    ap, ap50 = bootstrap.interval(ap_B), bootstrap.interval(ap50_B)
    return Intervals(ap, ap50, balanced_recall, balanced_false_alarms, quiet_recall)


def _face_free(matches: Matches, inputs: _Inputs) -> operating_point.FaceFree | None:
    """Returns false alarms on images without labels; unreadable ones, which have none, are left out."""
    empty_P = np.array(
        [
            not len(image.boxes_N4) and prediction.error is None
            for image, prediction in zip(inputs.images, inputs.predictions, strict=True)
        ]
    )
    if not empty_P.any():
        return None
    return operating_point.on_face_free(matches, empty_P, inputs.threshold, FALSE_ALARMS_PER_IMAGE)


def _landmarks(matches: Matches, inputs: _Inputs) -> landmarks.LandmarkError | None:
    if not inputs.landmarks:
        return None
    points = [
        landmarks.ImageLandmarks(image.boxes_N4, image.landmarks_N52, ~image.ignore_N, _found_points(prediction))
        for image, prediction in zip(inputs.images, inputs.predictions, strict=True)
    ]
    return landmarks.measure(matches, points, inputs.landmarks, inputs.threshold)


def _found_points(prediction: Prediction) -> np.ndarray:
    return np.zeros((len(prediction.boxes_M4), 5, 2)) if prediction.landmarks_M52 is None else prediction.landmarks_M52


def spread(images: list[Item], limit: int) -> list[Item]:
    """Returns `limit` images, spread evenly over the list, so that all events of a sorted set are represented."""
    if not 0 < limit < len(images):
        return images
    return [images[place * len(images) // limit] for place in range(limit)]


def _faces(images: list[LabelledImage], known: FaceAttributes) -> attributes.LabelledFaces:
    """Returns the faces of these images that have attributes, are not ignored, and are at least LEAST_HEIGHT high."""
    known_faces = [
        (index, row, known.values[image.name, row])
        for index, image in enumerate(images)
        for row in np.flatnonzero(_measured_faces(image)).tolist()
        if (image.name, row) in known.values
    ]
    if not known_faces:
        raise DataError(
            "the file of attributes describes no face of these images",
            f"the names in its column file are like {images[0].name}",
        )
    return attributes.LabelledFaces(
        np.array([index for index, _, _ in known_faces]),
        np.array([row for _, row, _ in known_faces]),
        {name: [values.get(name, "") for _, _, values in known_faces] for name in known.names},
    )


def _measured_faces(image: LabelledImage) -> np.ndarray:
    return ~image.ignore_N & (image.boxes_N4[:, 3] - image.boxes_N4[:, 1] >= attributes.LEAST_HEIGHT)


def _default_split(data: Path) -> str:
    return "val" if "val" in reading.splits(data) else ""


def _official(data: Path, split: str) -> OfficialFaces:
    folder = data / "ground_truth"
    return wider_ground_truth.read(folder) if split == "val" and wider_ground_truth.is_here(folder) else {}


def _unreadable(images: list[LabelledImage], predictions: list[Prediction]) -> list[tuple[str, str, str]]:
    return [
        (image.name, *prediction.error)
        for image, prediction in zip(images, predictions, strict=True)
        if prediction.error is not None
    ]


def _wider(images: list[LabelledImage], predictions: list[Prediction], official: OfficialFaces) -> WiderMetrics:
    named = ((official_name(each), each.scale, found) for each, found in zip(images, predictions, strict=True))
    known = [(official[name], scale, found) for name, scale, found in named if name in official]
    if not known:
        raise DataError(
            "none of the images is in the ground truth of WIDER FACE", "the files in ground_truth are those of val"
        )
    counts = wider.count(
        [faces.boxes_N4 for faces, _, _ in known],
        {level: [faces.counted[level] for faces, _, _ in known] for level in wider.LEVELS},
        # The ground truth is in pixels of the official images; the files can be smaller copies of them.
        [(found.boxes_M4 / np.tile(scale, 2), found.scores_M) for _, scale, found in known],
    )
    weights_BP = bootstrap.weights(len(known))
    intervals = {level: bootstrap.interval(wider.drawn(each, weights_BP)) for level, each in counts.items()}
    return WiderMetrics(
        {level: wider.summarise(each) for level, each in counts.items()}, intervals, len(known), len(official)
    )


def official_name(image: LabelledImage) -> str:
    """Returns an image's name in the official ground truth: EVENT/STEM."""
    return f"{image.group}/{PurePosixPath(image.name).stem}"


def _mean_milliseconds(predictions: list[Prediction]) -> dict[str, float]:
    read = [each.milliseconds for each in predictions if each.error is None]
    return {stage: float(np.mean([each[stage] for each in read])) for stage in (read[0] if read else ())}
