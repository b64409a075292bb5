"""All figures of one evaluation."""

from __future__ import annotations

from dataclasses import dataclass

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
    """What was evaluated, on what, and how.

    Attributes:
        model, sha256: name and digest of the model file.
        data, split, fingerprint: the labelled set: its path as given, its split, the sha256 of what was used of it.
        ignored: how many boxes count neither as faces nor as false alarms.
        unreadable: name, code and sentence of each image that could not be read; its faces count as missed.
        long_side: of the input, in pixels; 0 for the images' own size.
        score_floor: detections scored less were not looked at.
        max_detections: nor, in one image, more than these.
        workers: how many images were in work at once, by one thread each.
    """

    model: str
    sha256: str
    data: str
    split: str
    fingerprint: str
    ignored: int
    unreadable: list[tuple[str, str, str]]
    long_side: int
    score_floor: float
    max_detections: int
    workers: int


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % intervals over samples of the images, each of the figure of its name."""

    ap: Interval
    ap50: Interval
    balanced_recall: Interval
    balanced_false_alarms: Interval
    quiet_recall: Interval


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures.

    Attributes:
        subject: what they are of.
        coco: COCO's average precision.
        wider: WIDER FACE's, or None where the set is another, or its official ground truth is not there.
        balanced: recall and false alarms at the model's threshold "balanced".
        quiet: the same where there is at most one false alarm in ten images.
        intervals: how far these may be trusted.
        face_free: false alarms on images without a face, or None where every image has one.
        landmarks: their errors, or None where the model has none or none is labelled.
        groups: what the set files its images under, hardest first; empty where it does not.
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
    milliseconds: dict[str, float]
