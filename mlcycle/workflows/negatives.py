"""Conductor of `mlcycle data negatives`: a model file and a labelled set → crops of its false alarms.

Such hard negatives teach a detector more than scenes at random do (Sung and Poggio 1998, "Example-Based Learning for
View-Based Human Face Detection"). A face that nobody labelled must not become one, so a second model, the judge,
predicts on the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import mlcycle
from mlcycle.artifact.contract import Contract
from mlcycle.counted import counted
from mlcycle.datasets import reading
from mlcycle.datasets.formats import coco_writer
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.new_folder import staged
from mlcycle.errors import DataError, UsageError
from mlcycle.evaluation.matching import intersections
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.decoding import images
from mlcycle.inference.detect import Detector
from mlcycle.workflows.predictions import Prediction, bytes_of, open_detector, predict_all

LEAST_SIDE = 24  # pixels; smaller faces are often unlabelled
SIDES_AROUND = (5.0, 4.0, 3.0, 2.2, 1.6)  # of the square around a false alarm, in sides of its box
MOST_PIXELS = 640  # the longer side of a crop; larger ones are scaled down
MOST_OF_AN_IMAGE = 3

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """Which false alarms to take.

    Attributes:
        split: of the data set; can be "" if it has only one.
        threshold: the least score of a false alarm; None takes the model's threshold for redaction.
        judge_threshold: the least score of a face that the judge detects; None takes the judge's, in the same way.
        long_sides: the input's long sides in pixels, 0 for the image's own size; None takes each contract's.
        workers: number of threads; 0 takes one for each core.
    """

    split: str = ""
    threshold: float | None = None
    judge_threshold: float | None = None
    long_sides: tuple[int, ...] | None = None
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Negatives:
    """What was written: numbers of crops and of images, and name and sentence of each image that could not be read."""

    crops: int
    images: int
    unreadable: list[tuple[str, str]]


def write_negatives(
    model: Path, judge: Path, data: Path, target: Path, options: Options, started: Callable[[int], Advance]
) -> Negatives:
    """Writes crops as a COCO set without faces, where the model detects one, and neither labels nor the judge have any.

    Args:
        target: a folder that does not exist yet.
        started: called once with the number of images; the function that it returns is called with 1 after each.

    Raises:
        UsageError: a threshold is outside of its model's range, or a long side was requested for a fixed input size.
        ModelFileError: a model file cannot be used, or is a run's folder.
        DataError: the labelled set cannot be read, or no false alarm was found.
        InputError: the folder already exists, or cannot be written.
    """
    detectors = [open_detector(each, options.long_sides) for each in (model, judge)]
    thresholds = [
        _threshold(detectors[0].contract, options.threshold, "--threshold"),
        _threshold(detectors[1].contract, options.judge_threshold, "--judge-threshold"),
    ]
    labelled = reading.read(data, options.split)
    advance = started(len(labelled))
    sizes: dict[str, tuple[int, int]] = {}
    unreadable = []
    with staged(target) as folder:
        for image, found, judged in _predictions(detectors, labelled, options):
            if error := found.error or judged.error:
                unreadable.append((image.name, error[1]))
            else:
                alarms_M4 = found.boxes_M4[found.scores_M >= thresholds[0]]
                faces_K4 = np.concatenate([image.boxes_N4, judged.boxes_M4[judged.scores_M >= thresholds[1]]])
                sizes |= _write_crops(folder, image, alarms_M4, faces_K4)
            advance(1)
        if not sizes:
            unread = f"; {counted(len(unreadable), 'image')} could not be read" if unreadable else ""
            raise DataError(
                f"{detectors[0].contract.name} has no false alarm in {data}: a box of {LEAST_SIDE} pixels and more, "
                f"away from labelled faces and those of the judge{unread}",
                "pass more images, or a lower --threshold",
            )
        crops = [_without_faces(folder, name) for name in sizes]
        coco_writer.write_labels(folder, {"": crops}, {"": sizes}, _origin(detectors, thresholds))
    return Negatives(len(sizes), len(labelled), unreadable)


def crop_around(alarm_4: np.ndarray, faces_K4: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Returns the largest square around a false alarm without any part of a face in it, cut at the image's borders.

    Args:
        alarm_4: x1 y1 x2 y2 in pixels, as are the faces and what is returned.
        size: width and height of the image.

    Returns None if a face is too close.
    """
    centre_2, side = (alarm_4[:2] + alarm_4[2:]) / 2, (alarm_4[2:] - alarm_4[:2]).max()
    for sides in SIDES_AROUND:
        start_2, end_2 = (centre_2 + sign * sides * side / 2 for sign in (-1, 1))
        crop_4 = np.concatenate([np.maximum(start_2, 0), np.minimum(end_2, size)]).round()
        if not _touches(crop_4, faces_K4) and (crop_4[2:] - crop_4[:2] >= LEAST_SIDE).all():
            left, top, right, bottom = (int(each) for each in crop_4)
            return left, top, right, bottom
    return None


def _threshold(contract: Contract, given: float | None, flag: str) -> float:
    floor = contract.selection.score_floor
    if given is None:
        return contract.redaction_threshold
    if not floor <= given <= 1:
        raise UsageError(f"{flag} {given:g} is outside of the range of {contract.name}", f"choose {floor:g} to 1")
    return given


def _predictions(
    detectors: list[Detector], labelled: list[LabelledImage], options: Options
) -> Iterator[tuple[LabelledImage, Prediction, Prediction]]:
    workers = min(options.workers or cores(), len(labelled))
    paths = [each.path for each in labelled]
    found, judged = (predict_all(each, paths, options.long_sides, workers) for each in detectors)
    return zip(labelled, found, judged, strict=True)


def _write_crops(
    folder: Path, image: LabelledImage, alarms_M4: np.ndarray, faces_K4: np.ndarray
) -> dict[str, tuple[int, int]]:
    """Writes the crops of one image, best alarm first; returns width and height of each by its name."""
    is_large_M = (alarms_M4[:, 2:] - alarms_M4[:, :2]).max(axis=1, initial=0) >= LEAST_SIDE
    alarms_M4 = np.array([each for each in alarms_M4[is_large_M] if not _touches(each, faces_K4)])
    if not len(alarms_M4):
        return {}
    upright = images.decode(bytes_of(image.path)).upright()
    sizes: dict[str, tuple[int, int]] = {}
    taken: list[tuple[int, int, int, int]] = []
    for alarm_4 in alarms_M4:
        crop = crop_around(alarm_4, faces_K4, upright.size)
        if crop is None or len(taken) == MOST_OF_AN_IMAGE or _touches(alarm_4, np.array(taken).reshape(-1, 4)):
            continue
        taken.append(crop)
        cut = upright.crop(crop)
        cut.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.BILINEAR)
        name = f"{image.name}.{len(taken)}.jpg"
        place = folder / coco_writer.place("", name)
        place.parent.mkdir(parents=True, exist_ok=True)
        cut.save(place, quality=95, subsampling=0)
        sizes[name] = cut.size
    return sizes


def _touches(box_4: np.ndarray, others_K4: np.ndarray) -> bool:
    """Returns whether a box has any area in common with one of the others, x1 y1 x2 y2."""
    return bool(intersections(box_4[None], others_K4).any())


def _without_faces(folder: Path, name: str) -> LabelledImage:
    return LabelledImage(
        path=folder / coco_writer.place("", name),
        name=name,
        boxes_N4=np.zeros((0, 4), np.float32),
        ignore_N=np.zeros(0, bool),
        landmarks_N52=np.zeros((0, 5, 2), np.float32),
    )


def _origin(detectors: list[Detector], thresholds: list[float]) -> dict[str, object]:
    origin: dict[str, object] = {"description": "crops of what a model takes for faces"}
    for prefix, detector, threshold in zip(("", "judge_"), detectors, thresholds, strict=True):
        origin[f"{prefix}model"] = detector.contract.name
        origin[f"{prefix}model_sha256"] = detector.sha256
        origin[f"{prefix}threshold"] = threshold
    return {**origin, "mlcycle": mlcycle.__version__}
