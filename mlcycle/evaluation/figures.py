"""All figures of one evaluation, and the ways to write them down: a table for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.coco import AveragePrecision, SizePrecision
from mlcycle.evaluation.operating import OperatingPoint
from mlcycle.evaluation.wider import LevelPrecision

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class WiderFigures:
    """WIDER FACE's levels, on `photographs` of the `official` ones."""

    levels: dict[str, LevelPrecision]
    photographs: int
    official: int


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated, on what, and how.

    Attributes:
        model, sha256: name and digest of the model file.
        data, split, fingerprint: the labelled set: its path as given, its split, the sha256 of what was used of it.
        ignored: how many boxes count neither as faces nor as false alarms.
        unreadable: name, code and sentence of each photograph that could not be read; its faces count as missed.
        long_side: of the input, in pixels; 0 for the photographs' own size.
        score_floor: detections scored less were not looked at.
        max_detections: nor, in one photograph, more than these.
        processes: how many ran at once, one thread each.
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
    processes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures.

    Attributes:
        subject: what they are of.
        coco: COCO's average precision.
        wider: WIDER FACE's, or None where the set is another, or its official ground truth is not there.
        balanced: recall and false alarms at the model's threshold "balanced".
        quiet: the same where there is at most one false alarm in ten photographs.
        quiet_recall: the 95 % interval of its recall.
        milliseconds: mean time of each stage for one photograph.
    """

    subject: Subject
    coco: AveragePrecision
    wider: WiderFigures | None
    balanced: OperatingPoint
    quiet: OperatingPoint
    quiet_recall: Interval
    milliseconds: dict[str, float]


def as_json(figures: Figures) -> str:
    """Returns one JSON document; a figure that does not exist, such as the precision of no face, is null."""
    subject, total = figures.subject, sum(figures.milliseconds.values())
    document = {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": subject.model, "sha256": subject.sha256},
        "data": {
            "path": subject.data,
            "split": subject.split,
            "fingerprint": subject.fingerprint,
            "photographs": figures.coco.photographs,
            "faces": figures.coco.faces,
            "ignored": subject.ignored,
            "unreadable": [{"name": name, "code": code, "message": text} for name, code, text in subject.unreadable],
        },
        "settings": {
            "long_side": subject.long_side,
            "score_floor": subject.score_floor,
            "max_detections": subject.max_detections,
            "processes": subject.processes,
        },
        "coco": _precision(figures.coco)
        | {"by_size": {name: _precision(part) for name, part in figures.coco.by_size.items()}},
        "wider": _wider(figures.wider),
        "balanced": _point(figures.balanced),
        "one_false_alarm_in_ten_photographs": _point(figures.quiet)
        | {"recall_95": [_number(figures.quiet_recall.least), _number(figures.quiet_recall.most)]},
        "milliseconds": {stage: round(value, 3) for stage, value in figures.milliseconds.items()}
        | {"total": round(total, 3)},
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False)


def as_table(figures: Figures) -> str:
    """Returns the figures as lines of text for people."""
    subject, whole = figures.subject, figures.coco
    long_side = f"long side {subject.long_side}" if subject.long_side else "original size"
    split = f" ({subject.split})" if subject.split else ""
    sections = [
        [
            f"model   {subject.model}  sha256 {subject.sha256[:16]}…",
            f"data    {subject.data}{split}  fingerprint {subject.fingerprint[:16]}…",
            f"        {whole.photographs:,} photographs, {whole.faces:,} faces, {subject.ignored:,} ignored",
            f"        {long_side}, scores from {subject.score_floor:g}",
        ],
        [f"{'COCO':<18}{'AP':>8}{'AP50':>8}{'AP75':>8}{'faces':>9}", _precision_row("all", whole)]
        + [_precision_row(name, part) for name, part in whole.by_size.items()],
    ]
    if figures.wider:
        of = f"{figures.wider.photographs:,} of the {figures.wider.official:,} official photographs"
        rows = [f"{name:<18}{_share(level.ap)}{level.faces:>25,}" for name, level in figures.wider.levels.items()]
        sections.append([f"{'WIDER FACE':<18}{'AP':>8}{'faces':>25}   {of}", *rows])
    low, high = _share(figures.quiet_recall.least).strip(), _share(figures.quiet_recall.most).strip()
    sections += [
        [
            f"{'at a threshold of':<18}{'':>8}{'recall':>8}   false alarms a photograph",
            f"{'balanced':<18}{_point_row(figures.balanced)}",
            f"{'1 alarm in 10':<18}{_point_row(figures.quiet)}   (recall {low} to {high} in 95 of 100 samples)",
        ],
        [_time_row(figures)],
    ]
    return "\n\n".join("\n".join(section) for section in sections)


def coco_results(photographs: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """Returns detections in COCO's form for results: a list of image_id, category_id 1, bbox (x y w h) and score.

    `photographs` gives name, boxes_M4 (x1 y1 x2 y2) and scores_M of each; image_id counts them from 1, in this order,
    and each detection has the name besides, as file_name.
    """
    rows = [
        json.dumps({"image_id": number, "file_name": name, "category_id": 1, "bbox": _x_y_w_h(box_4), "score": score})
        for number, (name, boxes_M4, scores_M) in enumerate(photographs, 1)
        for box_4, score in zip(boxes_M4.tolist(), scores_M.tolist(), strict=True)
    ]
    return "[" + ",\n".join(rows) + "]"


def _x_y_w_h(box_4: list[float]) -> list[float]:
    x1, y1, x2, y2 = box_4
    return [x1, y1, x2 - x1, y2 - y1]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _precision(part: AveragePrecision | SizePrecision) -> dict[str, Any]:
    return {"ap": _number(part.ap), "ap50": _number(part.ap50), "ap75": _number(part.ap75), "faces": part.faces}


def _point(point: OperatingPoint) -> dict[str, Any]:
    return {
        "threshold": _number(point.threshold),
        "recall": _number(point.recall),
        "false_alarms_per_photograph": _number(point.false_alarms),
    }


def _wider(figures: WiderFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    levels = {name: {"ap": _number(level.ap), "faces": level.faces} for name, level in figures.levels.items()}
    return {"photographs": figures.photographs, "official_photographs": figures.official} | levels


def _share(value: float) -> str:
    return f"{'-' if math.isnan(value) else format(value, '.4f'):>8}"


def _precision_row(name: str, part: AveragePrecision | SizePrecision) -> str:
    return f"{name:<18}{_share(part.ap)}{_share(part.ap50)}{_share(part.ap75)}{part.faces:>9,}"


def _point_row(point: OperatingPoint) -> str:
    threshold = f"{point.threshold:.4f}" if math.isfinite(point.threshold) else "none"
    return f"{threshold:>8}{_share(point.recall)}{_share(point.false_alarms)}"


def _time_row(figures: Figures) -> str:
    if not figures.milliseconds:
        return "time    no photograph could be read"
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in figures.milliseconds.items())
    several = f", {figures.subject.processes} processes at once" if figures.subject.processes > 1 else ""
    return f"time    {sum(figures.milliseconds.values()):.1f} ms a photograph ({stages}) on one thread{several}"
