"""The metrics of an evaluation as a table for a terminal."""

from __future__ import annotations

import math

from mlcycle.counted import counted
from mlcycle.evaluation.attributes import LEAST_HEIGHT, AttributeRecall
from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.coco import AveragePrecision, SizePrecision
from mlcycle.evaluation.groups import GroupPrecision
from mlcycle.evaluation.landmarks import LandmarkError
from mlcycle.evaluation.metrics import Metrics, WiderMetrics
from mlcycle.evaluation.operating_point import FaceFree, OperatingPoint

# Groups in the table; the JSON and the page have all of them.
HARDEST = 5


def as_table(metrics: Metrics) -> str:
    """Returns the metrics as text; "a to b" is a 95 % interval over samples of the images."""
    sections = [_subject(metrics)]
    if metrics.coco.faces:
        sections.append(_coco(metrics))
        if metrics.wider:
            sections.append(_wider(metrics.wider))
        if metrics.groups:
            sections.append(_groups(metrics.groups))
        sections.append(_thresholds(metrics))
        sections += [_attribute(each, metrics.balanced.threshold) for each in metrics.attributes]
    if metrics.face_free:
        sections.append(_face_free(metrics.face_free))
    if metrics.landmarks:
        sections.append(_landmarks(metrics.landmarks))
    sections.append([_time_row(metrics), "        a to b: 95 % interval over samples of the images"])
    return "\n\n".join("\n".join(section) for section in sections)


def _subject(metrics: Metrics) -> list[str]:
    subject, whole = metrics.subject, metrics.coco
    sides = [f"long side {each}" if each else "original size" for each in subject.long_sides]
    split = f" ({subject.split})" if subject.split else ""
    return [
        f"model   {subject.model}  sha256 {subject.sha256[:16]}…",
        f"data    {subject.data}{split}  fingerprint {subject.fingerprint[:16]}…",
        f"        {counted(whole.images, 'image')}, {counted(whole.faces, 'face')}, {subject.ignored:,} ignored",
        f"        {' and '.join(sides)}, scores from {subject.score_floor:g}",
    ]


def _coco(metrics: Metrics) -> list[str]:
    whole, intervals = metrics.coco, metrics.intervals
    return [
        f"{'COCO':<18}{'AP':>8}{'AP50':>8}{'AP75':>8}{'faces':>9}",
        f"{_precision_row('all', whole)}   AP {_range(intervals.ap)}, AP50 {_range(intervals.ap50)}",
        *(_precision_row(name, part) for name, part in whole.by_size.items()),
    ]


def _wider(metrics: WiderMetrics) -> list[str]:
    of = f"{metrics.images:,} of the {metrics.official:,} official images"
    rows = (
        f"{name:<18}{_share(level.ap)}{level.faces:>25,}   {_range(metrics.intervals[name])}"
        for name, level in metrics.levels.items()
    )
    return [f"{'WIDER FACE':<18}{'AP':>8}{'faces':>25}   {of}", *rows]


def _groups(groups: list[GroupPrecision]) -> list[str]:
    of = f", the hardest {HARDEST} of {len(groups)}" if len(groups) > HARDEST else ""
    width = max(len(each.name) for each in groups[:HARDEST])
    rows = (
        f"{each.name:<{max(width, 15)}}{_share(each.ap):>11}{_share(each.ap50)}{_share(each.recall)}{each.faces:>9,}"
        f"   {each.images:,}"
        for each in groups[:HARDEST]
    )
    head = f"{'groups':<{max(width, 15)}}{'AP':>11}{'AP50':>8}{'recall':>8}{'faces':>9}   images{of}"
    return [head, *rows]


def _thresholds(metrics: Metrics) -> list[str]:
    intervals = metrics.intervals
    balanced = f"recall {_range(intervals.balanced_recall)}, false alarms {_range(intervals.balanced_false_alarms)}"
    return [
        f"{'at a threshold of':<18}{'':>8}{'recall':>8}   false alarms per image",
        f"{'balanced':<18}{_point_row(metrics.balanced)}   {balanced}",
        f"{'1 alarm in 10':<18}{_point_row(metrics.quiet)}   recall {_range(intervals.quiet_recall)}",
    ]


def _attribute(attribute: AttributeRecall, threshold: float) -> list[str]:
    width = max(17, *(len(each.value) for each in attribute.values))
    of = f"at {threshold:g}, of {LEAST_HEIGHT:g} pixels and more"
    rows = (
        f"{each.value:<{width}}{_share(each.recall):>9}{each.faces:>9,}   {_range(each.interval)}"
        for each in attribute.values
    )
    widest = f"{attribute.best} is found more often than {attribute.worst} by {attribute.difference:.3f}"
    last = [f"{widest} ({_range(attribute.interval)})"] if attribute.best else []
    return [f"{attribute.name:<{width}}{'recall':>9}{'faces':>9}   {of}", *rows, *last]


def _face_free(metrics: FaceFree) -> list[str]:
    return [
        f"{'without a face':<18}{'':>8}{'':>8}   false alarms per image, on {metrics.images:,} images",
        f"{'balanced':<18}{_point_row(metrics.given)}   {_range(metrics.given_interval)}",
        f"{'1 alarm in 10':<18}{_point_row(metrics.allowed)}",
    ]


def _landmarks(metrics: LandmarkError) -> list[str]:
    points = "   ".join(f"{name.replace('_', ' ')} {_percent(value)}" for name, value in metrics.by_point.items())
    found = f"{metrics.faces:,} found of {metrics.labelled:,} labelled faces"
    interval = f"{_percent(metrics.mean_interval.least)} to {_percent(metrics.mean_interval.most)}"
    return [
        f"landmarks         mean error {_percent(metrics.mean)} of the face's size ({interval}), {found}",
        f"                  below 10 % on {_percent(metrics.good)} of them",
        f"                  {points}",
    ]


def _share(value: float) -> str:
    return f"{'-' if math.isnan(value) else format(value, '.4f'):>8}"


def _range(interval: Interval) -> str:
    return "-" if math.isnan(interval.least) else f"{interval.least:.3f} to {interval.most:.3f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value * 100:.1f} %"


def _precision_row(name: str, part: AveragePrecision | SizePrecision) -> str:
    return f"{name:<18}{_share(part.ap)}{_share(part.ap50)}{_share(part.ap75)}{part.faces:>9,}"


def _point_row(point: OperatingPoint) -> str:
    threshold = f"{point.threshold:.4f}" if math.isfinite(point.threshold) else "none"
    return f"{threshold:>8}{_share(point.recall)}{_share(point.false_alarms)}"


def _time_row(metrics: Metrics) -> str:
    if not metrics.milliseconds:
        return "time    no image could be read"
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in metrics.milliseconds.items())
    several = f", {metrics.subject.workers} threads" if metrics.subject.workers > 1 else ""
    return f"time    {sum(metrics.milliseconds.values()):.1f} ms per image ({stages}) on one thread{several}"
