"""The figures of an evaluation as lines of text for people."""

from __future__ import annotations

import math

from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.coco import AveragePrecision, SizePrecision
from mlcycle.evaluation.groups import GroupPrecision
from mlcycle.evaluation.landmarks import LandmarkError
from mlcycle.evaluation.metrics import Figures, WiderFigures
from mlcycle.evaluation.operating_point import FaceFree, OperatingPoint

# Groups shown; all of them are in the JSON and on the page.
HARDEST = 5


def as_table(figures: Figures) -> str:
    """Returns the figures as a text; "a to b" beside a figure holds it in 95 of 100 samples of the photographs."""
    sections = [_subject(figures)]
    if figures.coco.faces:
        sections.append(_coco(figures))
        if figures.wider:
            sections.append(_wider(figures.wider))
        if figures.groups:
            sections.append(_groups(figures.groups))
        sections.append(_thresholds(figures))
    if figures.face_free:
        sections.append(_face_free(figures.face_free))
    if figures.landmarks:
        sections.append(_landmarks(figures.landmarks))
    sections.append([_time_row(figures), "        a to b: 95 of 100 samples of the photographs lie there"])
    return "\n\n".join("\n".join(section) for section in sections)


def _subject(figures: Figures) -> list[str]:
    subject, whole = figures.subject, figures.coco
    long_side = f"long side {subject.long_side}" if subject.long_side else "original size"
    split = f" ({subject.split})" if subject.split else ""
    return [
        f"model   {subject.model}  sha256 {subject.sha256[:16]}…",
        f"data    {subject.data}{split}  fingerprint {subject.fingerprint[:16]}…",
        f"        {whole.photographs:,} photographs, {whole.faces:,} faces, {subject.ignored:,} ignored",
        f"        {long_side}, scores from {subject.score_floor:g}",
    ]


def _coco(figures: Figures) -> list[str]:
    whole, intervals = figures.coco, figures.intervals
    return [
        f"{'COCO':<18}{'AP':>8}{'AP50':>8}{'AP75':>8}{'faces':>9}",
        f"{_precision_row('all', whole)}   AP {_range(intervals.ap)}, AP50 {_range(intervals.ap50)}",
        *(_precision_row(name, part) for name, part in whole.by_size.items()),
    ]


def _wider(figures: WiderFigures) -> list[str]:
    of = f"{figures.photographs:,} of the {figures.official:,} official photographs"
    rows = (
        f"{name:<18}{_share(level.ap)}{level.faces:>25,}   {_range(figures.intervals[name])}"
        for name, level in figures.levels.items()
    )
    return [f"{'WIDER FACE':<18}{'AP':>8}{'faces':>25}   {of}", *rows]


def _groups(groups: list[GroupPrecision]) -> list[str]:
    of = f", the hardest {HARDEST} of {len(groups)}" if len(groups) > HARDEST else ""
    width = max(len(each.name) for each in groups[:HARDEST])
    rows = (
        f"{each.name:<{max(width, 15)}}{_share(each.ap):>11}{_share(each.ap50)}{_share(each.recall)}{each.faces:>9,}"
        f"   {each.photographs:,}"
        for each in groups[:HARDEST]
    )
    head = f"{'groups':<{max(width, 15)}}{'AP':>11}{'AP50':>8}{'recall':>8}{'faces':>9}   photographs{of}"
    return [head, *rows]


def _thresholds(figures: Figures) -> list[str]:
    intervals = figures.intervals
    balanced = f"recall {_range(intervals.balanced_recall)}, false alarms {_range(intervals.balanced_false_alarms)}"
    return [
        f"{'at a threshold of':<18}{'':>8}{'recall':>8}   false alarms a photograph",
        f"{'balanced':<18}{_point_row(figures.balanced)}   {balanced}",
        f"{'1 alarm in 10':<18}{_point_row(figures.quiet)}   recall {_range(intervals.quiet_recall)}",
    ]


def _face_free(figures: FaceFree) -> list[str]:
    return [
        f"{'without a face':<18}{'':>8}{'':>8}   false alarms a photograph, on {figures.photographs:,} photographs",
        f"{'balanced':<18}{_point_row(figures.given)}   {_range(figures.given_interval)}",
        f"{'1 alarm in 10':<18}{_point_row(figures.allowed)}",
    ]


def _landmarks(figures: LandmarkError) -> list[str]:
    points = "   ".join(f"{name.replace('_', ' ')} {_percent(value)}" for name, value in figures.by_point.items())
    found = f"{figures.faces:,} found of {figures.labelled:,} labelled faces"
    interval = f"{_percent(figures.mean_interval.least)} to {_percent(figures.mean_interval.most)}"
    return [
        f"landmarks         mean error {_percent(figures.mean)} of the face's size ({interval}), {found}",
        f"                  below 10 % on {_percent(figures.good)} of them",
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


def _time_row(figures: Figures) -> str:
    if not figures.milliseconds:
        return "time    no photograph could be read"
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in figures.milliseconds.items())
    several = f", {figures.subject.workers} at once" if figures.subject.workers > 1 else ""
    return f"time    {sum(figures.milliseconds.values()):.1f} ms a photograph ({stages}) on one thread{several}"
