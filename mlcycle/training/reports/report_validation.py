"""The results of a run's best checkpoint on the validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.calibration import Calibration
from mlcycle.evaluation.coco import AveragePrecision
from mlcycle.evaluation.groups import GroupPrecision
from mlcycle.evaluation.matches import Matches
from mlcycle.reporting.mistakes import Thumbnail


@dataclass(frozen=True, slots=True)
class Validation:
    """Metrics of the predictions on the validation images.

    Attributes:
        step: of the checkpoint.
        matches: of its boxes with the labels.
        whole: average precision, also by size.
        intervals: 95 % intervals of AP50 and AP over samples of the images.
        threshold: the balanced one.
        points: name of an operating point → its rule, recall, precision and false alarms per image; empty if no
            face is detected at any threshold.
        thresholds: name of an operating point → lowest score of a face.
        calibration: of the scores.
        groups: metrics by group, hardest first.
        misses, false_alarms: crops of the worst mistakes; `has_thumbnails` tells whether crops were requested.
    """

    step: int
    matches: Matches
    whole: AveragePrecision
    intervals: tuple[Interval, Interval]
    threshold: float
    points: dict[str, dict[str, Any]]
    thresholds: dict[str, float]
    calibration: Calibration
    groups: Sequence[GroupPrecision]
    misses: Sequence[Thumbnail]
    false_alarms: Sequence[Thumbnail]
    has_thumbnails: bool
