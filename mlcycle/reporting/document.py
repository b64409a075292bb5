"""The metrics of an evaluation as JSON, and detections as COCO results, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from mlcycle.evaluation.attributes import AttributeRecall
from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.coco import AveragePrecision, SizePrecision
from mlcycle.evaluation.groups import GroupPrecision
from mlcycle.evaluation.landmarks import LandmarkError
from mlcycle.evaluation.metrics import Metrics, Subject, WiderMetrics
from mlcycle.evaluation.operating_point import FaceFree, OperatingPoint

SCHEMA_VERSION = 3


def as_json(metrics: Metrics) -> str:
    """Returns `as_dict` as one JSON document."""
    return json.dumps(as_dict(metrics), indent=2, ensure_ascii=True, allow_nan=False)


def as_dict(metrics: Metrics) -> dict[str, Any]:
    """Returns all metrics; one that is undefined, such as the precision without a face, is None.

    A pair whose name ends in _95 is the 95 % interval of the metric of that name.
    """
    intervals, total = metrics.intervals, sum(metrics.milliseconds.values())
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": metrics.subject.model, "sha256": metrics.subject.sha256},
        "data": _data(metrics),
        "settings": _settings(metrics.subject),
        "coco": _precision(metrics.coco)
        | {"ap_95": _pair(intervals.ap), "ap50_95": _pair(intervals.ap50)}
        | {"by_size": {name: _precision(part) for name, part in metrics.coco.by_size.items()}},
        "wider": _wider(metrics.wider),
        "groups": [_group(each) for each in metrics.groups],
        "attributes": [_attribute(each) for each in metrics.attributes],
        "balanced": _point(metrics.balanced)
        | {
            "recall_95": _pair(intervals.balanced_recall),
            "false_alarms_per_image_95": _pair(intervals.balanced_false_alarms),
        },
        "one_false_alarm_in_ten_images": _point(metrics.quiet) | {"recall_95": _pair(intervals.quiet_recall)},
        "face_free": _face_free(metrics.face_free),
        "landmarks": _landmarks(metrics.landmarks),
        "milliseconds": {stage: round(value, 3) for stage, value in metrics.milliseconds.items()}
        | {"total": round(total, 3)},
    }


def coco_results(images: Iterable[tuple[str, tuple[Any, Any], np.ndarray, np.ndarray]]) -> str:
    """Returns detections as COCO results: image_id, category_id, bbox (x y w h) and score, with file_name.

    `images` yields name, the ids of the image and of the category, boxes_M4 (x1 y1 x2 y2) and scores_M.
    """
    rows = [
        json.dumps(
            {"image_id": image, "file_name": name, "category_id": category, "bbox": _x_y_w_h(box_4), "score": score}
        )
        for name, (image, category), boxes_M4, scores_M in images
        for box_4, score in zip(boxes_M4.tolist(), scores_M.tolist(), strict=True)
    ]
    return "[" + ",\n".join(rows) + "]"


def _x_y_w_h(box_4: list[float]) -> list[float]:
    x1, y1, x2, y2 = box_4
    return [x1, y1, x2 - x1, y2 - y1]


def _data(metrics: Metrics) -> dict[str, Any]:
    subject = metrics.subject
    return {
        "path": subject.data,
        "split": subject.split,
        "fingerprint": subject.fingerprint,
        "images": metrics.coco.images,
        "faces": metrics.coco.faces,
        "ignored": subject.ignored,
        "unreadable": [{"name": name, "code": code, "message": text} for name, code, text in subject.unreadable],
    }


def _settings(subject: Subject) -> dict[str, Any]:
    return {
        "long_side": subject.long_sides[0] if len(subject.long_sides) == 1 else list(subject.long_sides),
        "score_floor": subject.score_floor,
        "max_detections": subject.max_detections,
        "workers": subject.workers,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pair(interval: Interval) -> list[float | None]:
    return [_number(interval.least), _number(interval.most)]


def _precision(part: AveragePrecision | SizePrecision) -> dict[str, Any]:
    return {"ap": _number(part.ap), "ap50": _number(part.ap50), "ap75": _number(part.ap75), "faces": part.faces}


def _point(point: OperatingPoint) -> dict[str, Any]:
    return {
        "threshold": _number(point.threshold),
        "recall": _number(point.recall),
        "false_alarms_per_image": _number(point.false_alarms),
    }


def _wider(metrics: WiderMetrics | None) -> dict[str, Any] | None:
    if metrics is None:
        return None
    levels = {
        name: {"ap": _number(level.ap), "ap_95": _pair(metrics.intervals[name]), "faces": level.faces}
        for name, level in metrics.levels.items()
    }
    return {"images": metrics.images, "official_images": metrics.official} | levels


def _group(group: GroupPrecision) -> dict[str, Any]:
    return {
        "name": group.name,
        "images": group.images,
        "faces": group.faces,
        "ap": _number(group.ap),
        "ap50": _number(group.ap50),
        "recall": _number(group.recall),
    }


def _attribute(attribute: AttributeRecall) -> dict[str, Any]:
    values = [
        {"value": each.value, "faces": each.faces, "recall": each.recall, "recall_95": _pair(each.interval)}
        for each in attribute.values
    ]
    return {
        "name": attribute.name,
        "values": values,
        "best": attribute.best,
        "worst": attribute.worst,
        "difference": _number(attribute.difference),
        "difference_95": _pair(attribute.interval),
    }


def _face_free(metrics: FaceFree | None) -> dict[str, Any] | None:
    if metrics is None:
        return None
    given, allowed = _point(metrics.given), _point(metrics.allowed)
    del given["recall"], allowed["recall"]  # without faces there is no recall
    return {
        "images": metrics.images,
        "balanced": given | {"false_alarms_per_image_95": _pair(metrics.given_interval)},
        "one_false_alarm_in_ten_images": allowed,
    }


def _landmarks(metrics: LandmarkError | None) -> dict[str, Any] | None:
    if metrics is None:
        return None
    return {
        "faces": metrics.faces,
        "labelled_faces": metrics.labelled,
        "mean_error": _number(metrics.mean),
        "mean_error_95": _pair(metrics.mean_interval),
        "by_point": {name: _number(value) for name, value in metrics.by_point.items()},
        "share_below_a_tenth": _number(metrics.good),
    }
