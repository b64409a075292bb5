"""The conductor of `mlcycle evaluate`: a frozen file and labelled images → figures; reads from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from mlcycle.datasets import reading
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.errors import DataError, UsageError
from mlcycle.evaluation import bootstrap, coco, groups, landmarks, operating_point, wider, wider_ground_truth
from mlcycle.evaluation.matches import Matches, match_images
from mlcycle.evaluation.metrics import Intervals, Metrics, Subject, WiderMetrics
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.detect import Detector, load_detector
from mlcycle.reporting import document, table
from mlcycle.workflows.predictions import Answer, answer_all

# COCO says 100; images of crowds hold more faces than that.
MAX_DETECTIONS = 1000
FALSE_ALARMS_PER_IMAGE = 0.1

OfficialFaces = dict[str, wider_ground_truth.OfficialFaces]
Advance = Callable[[int], None]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Options:
    """What to evaluate on, and how.

    Attributes:
        split: of the data set; "" takes val if there is one, else the only one.
        long_side: the input's long side in pixels; None takes the contract's, 0 the image's own size.
        workers: threads; 0 takes one for each core, or a single one for a detector that is loaded already.
        limit: only so many images, spread evenly over the set; 0 takes all.
    """

    split: str = ""
    long_side: int | None = None
    workers: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures, with the images they are of and the answers behind them, in one order, and what comparing both
    gave."""

    metrics: Metrics
    matches: Matches
    images: list[LabelledImage]
    answers: list[Answer]

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as `mlcycle evaluate --format json` prints them; one that does not exist is None."""
        return document.as_dict(self.metrics)

    def __str__(self) -> str:
        """Returns the figures as the table that `mlcycle evaluate` prints."""
        return table.as_table(self.metrics)

    def detections(self) -> Iterator[tuple[str, tuple[Any, Any], np.ndarray, np.ndarray]]:
        """Yields name, ids of image and category, boxes_M4 and scores_M of each image.

        The ids are those of the COCO file that the labels come from; else images count from 1, and faces are 1.
        """
        for number, (image, answer) in enumerate(zip(self.images, self.answers, strict=True), 1):
            yield image.name, image.coco_ids or (number, 1), answer.boxes_M4, answer.scores_M


def evaluate(model: Path | Detector, data: Path, options: Options, started: Callable[[int], Advance]) -> Evaluation:
    """Runs a frozen file over labelled images and measures what it finds.

    Args:
        model: the file, which is verified; or a detector that is loaded already, best with one thread for each image.
        data: a labelled set in any layout that mlcycle.datasets reads.
        options: see Options.
        started: called once with the number of images, before the first; what it returns is called with 1 after
            each.

    Raises:
        UsageError: a long side was given for a file with an input of one size.
        ModelFileError: the model file cannot be used.
        DataError: the labelled set, or WIDER FACE's ground truth beside it, cannot be read.
        ModuleNotFoundError: there is such ground truth, and scipy is not installed.
    """
    detector = model if isinstance(model, Detector) else load_detector(model, provider="cpu", threads=1)
    if detector.contract.input_size is not None and options.long_side is not None:
        raise UsageError(
            f"{detector.path} takes inputs of one size only", "leave out --long-side, or evaluate its parent"
        )
    split = options.split or _usual_split(data)
    images = spread(reading.read(data, split), options.limit)
    official = _official(data, split)
    workers = min(options.workers or (1 if isinstance(model, Detector) else cores()), len(images))
    answers = []
    advance = started(len(images))
    for answer in answer_all(detector, [each.path for each in images], options.long_side, workers):
        answers.append(answer)
        advance(1)
    subject = Subject(
        model=detector.contract.name,
        sha256=detector.sha256,
        data=str(data),
        split=split,
        fingerprint=reading.fingerprint(images),
        ignored=sum(int(each.ignore_N.sum()) for each in images),
        unreadable=_unreadable(images, answers),
        long_side=detector.contract.resize.long_side if options.long_side is None else options.long_side,
        score_floor=detector.contract.selection.score_floor,
        max_detections=MAX_DETECTIONS,
        workers=workers,
    )
    measured = _Measured(images, answers, detector.contract.thresholds["balanced"], detector.contract.landmarks)
    return _outcome(subject, measured, official)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Images, the answers about them, the threshold that counts, and the names of the landmarks."""

    images: list[LabelledImage]
    answers: list[Answer]
    threshold: float
    landmarks: tuple[str, ...]


def _outcome(subject: Subject, measured: _Measured, official: OfficialFaces) -> Evaluation:
    images, answers, threshold = measured.images, measured.answers, measured.threshold
    matches = match_images(
        [(each.boxes_N4, each.ignore_N) for each in images],
        [(each.boxes_M4, each.scores_M) for each in answers],
        max_detections=subject.max_detections,
    )
    weights_BP = bootstrap.weights(len(images))
    metrics = Metrics(
        subject=subject,
        coco=coco.summarise(matches),
        wider=_wider(images, answers, official) if official else None,
        balanced=operating_point.at_threshold(matches, threshold),
        quiet=operating_point.at_false_alarms(matches, FALSE_ALARMS_PER_IMAGE),
        intervals=_intervals(matches, threshold, weights_BP),
        face_free=_face_free(matches, measured),
        landmarks=_landmarks(matches, measured),
        groups=groups.by_group(matches, [each.group for each in images], threshold),
        milliseconds=_mean_milliseconds(answers),
    )
    return Evaluation(metrics, matches, images, answers)


def _intervals(matches: Matches, threshold: float, weights_BP: np.ndarray) -> Intervals:
    ap_B, ap50_B = coco.drawn(matches, weights_BP)
    balanced_recall, balanced_false_alarms = operating_point.threshold_intervals(matches, threshold, weights_BP)
    quiet_recall = operating_point.false_alarms_interval(matches, FALSE_ALARMS_PER_IMAGE, weights_BP)
    ap, ap50 = bootstrap.interval(ap_B), bootstrap.interval(ap50_B)
    return Intervals(ap, ap50, balanced_recall, balanced_false_alarms, quiet_recall)


def _face_free(matches: Matches, measured: _Measured) -> operating_point.FaceFree | None:
    """False alarms where no face is labelled; an image that could not be read would flatter."""
    empty_P = np.array(
        [
            not len(image.boxes_N4) and answer.error is None
            for image, answer in zip(measured.images, measured.answers, strict=True)
        ]
    )
    if not empty_P.any():
        return None
    return operating_point.on_face_free(matches, empty_P, measured.threshold, FALSE_ALARMS_PER_IMAGE)


def _landmarks(matches: Matches, measured: _Measured) -> landmarks.LandmarkError | None:
    if not measured.landmarks:
        return None
    points = [
        landmarks.ImageLandmarks(image.boxes_N4, image.landmarks_N52, ~image.ignore_N, _found_points(answer))
        for image, answer in zip(measured.images, measured.answers, strict=True)
    ]
    return landmarks.measure(matches, points, measured.landmarks, measured.threshold)


def _found_points(answer: Answer) -> np.ndarray:
    return np.zeros((len(answer.boxes_M4), 5, 2)) if answer.landmarks_M52 is None else answer.landmarks_M52


def spread(images: list[Item], limit: int) -> list[Item]:
    """Takes `limit` images, evenly over the list, so that a sorted set is not cut off after its first events."""
    if not 0 < limit < len(images):
        return images
    return [images[place * len(images) // limit] for place in range(limit)]


def _usual_split(data: Path) -> str:
    return "val" if "val" in reading.splits(data) else ""


def _official(data: Path, split: str) -> OfficialFaces:
    folder = data / "ground_truth"
    return wider_ground_truth.read(folder) if split == "val" and wider_ground_truth.is_here(folder) else {}


def _unreadable(images: list[LabelledImage], answers: list[Answer]) -> list[tuple[str, str, str]]:
    return [
        (image.name, *answer.error) for image, answer in zip(images, answers, strict=True) if answer.error is not None
    ]


def _wider(images: list[LabelledImage], answers: list[Answer], official: OfficialFaces) -> WiderMetrics:
    named = ((official_name(each), each.scale, answer) for each, answer in zip(images, answers, strict=True))
    here = [(official[name], scale, answer) for name, scale, answer in named if name in official]
    if not here:
        raise DataError(
            "none of the images is in the ground truth of WIDER FACE", "the files in ground_truth are those of val"
        )
    counts = wider.count(
        [faces.boxes_N4 for faces, _, _ in here],
        {level: [faces.counted[level] for faces, _, _ in here] for level in wider.LEVELS},
        # The ground truth is in pixels of the official images, of which the files may be smaller copies.
        [(answer.boxes_M4 / np.tile(scale, 2), answer.scores_M) for _, scale, answer in here],
    )
    weights_BP = bootstrap.weights(len(here))
    intervals = {level: bootstrap.interval(wider.drawn(each, weights_BP)) for level, each in counts.items()}
    return WiderMetrics(
        {level: wider.summarise(each) for level, each in counts.items()}, intervals, len(here), len(official)
    )


def official_name(image: LabelledImage) -> str:
    """Returns an image's name in the official ground truth: EVENT/STEM."""
    return f"{image.group}/{PurePosixPath(image.name).stem}"


def _mean_milliseconds(answers: list[Answer]) -> dict[str, float]:
    read = [answer.milliseconds for answer in answers if answer.error is None]
    return {stage: float(np.mean([each[stage] for each in read])) for stage in (read[0] if read else ())}
