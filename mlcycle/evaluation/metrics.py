"""All metrics of one evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from mlcycle.evaluation.attributes import AttributeRecall
from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.coco import AveragePrecision
from mlcycle.evaluation.groups import GroupPrecision
from mlcycle.evaluation.landmarks import LandmarkError
from mlcycle.evaluation.operating_point import FaceFree, OperatingPoint
from mlcycle.evaluation.wider import LevelPrecision


@dataclass(frozen=True, slots=True)
class WiderMetrics:
    """WIDER FACE's levels and their 95 % intervals, on `images` of the `official` ones."""

    levels: dict[str, LevelPrecision]
    intervals: dict[str, Interval]
    images: int
    official: int


@dataclass(frozen=True, slots=True)
class Subject:
    """The model, the data and the settings of an evaluation.

    Attributes:
        model, sha256: name and digest of the model file.
        data, split, fingerprint: of the labelled set: its path as given, its split, the sha256 of the evaluated part.
        ignored: the number of boxes that count neither as faces nor as false alarms.
        unreadable: name, code and message of each image that could not be read; its faces count as missed.
        long_sides: of the input, in pixels; 0 for the original size of the images.
        score_floor: the lowest score of a detection.
        max_detections: the largest number of detections in one image.
        workers: the number of worker threads, each of which processes one image at a time.
    """

    model: str
    sha256: str
    data: str
    split: str
    fingerprint: str
    ignored: int
    unreadable: list[tuple[str, str, str]]
    long_sides: tuple[int, ...]
    score_floor: float
    max_detections: int
    workers: int


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % intervals over samples of the images, each of the metric of its name."""

    ap: Interval
    ap50: Interval
    balanced_recall: Interval
    balanced_false_alarms: Interval
    quiet_recall: Interval


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of an evaluation.

    Attributes:
        subject: the model, the data and the settings.
        coco: COCO's average precision.
        wider: WIDER FACE's average precision, or None for other sets and without the official ground truth.
        balanced: recall and false alarms at the model's threshold "balanced".
        quiet: the same with at most one false alarm in ten images.
        intervals: of these metrics.
        face_free: false alarms on images without a face, or None if every image has one.
        landmarks: their errors, or None if the model has no landmarks or none is labelled.
        groups: metrics by group of the set, hardest first; empty if it has none.
        attributes: recall by attributes of faces, at the threshold "balanced"; empty without a file of them.
        milliseconds: mean time of each stage for one image.
    """

    subject: Subject
    coco: AveragePrecision
    wider: WiderMetrics | None
    balanced: OperatingPoint
    quiet: OperatingPoint
    intervals: Intervals
    face_free: FaceFree | None
    landmarks: LandmarkError | None
    groups: list[GroupPrecision]
    attributes: list[AttributeRecall]
    milliseconds: dict[str, float]
