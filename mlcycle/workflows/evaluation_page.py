"""The page of `mlcycle evaluate --page`: metrics, curves, and crops of the worst mistakes."""

from __future__ import annotations

from typing import Any

from PIL import Image

from mlcycle.datasets.member import ImagePath
from mlcycle.evaluation.attributes import LEAST_HEIGHT
from mlcycle.evaluation.metrics import Metrics, WiderMetrics
from mlcycle.inference.decoding import images
from mlcycle.reporting import mistakes, pages
from mlcycle.reporting.charts import detection
from mlcycle.reporting.charts.detection import Curve
from mlcycle.reporting.pages import interval, percent, share
from mlcycle.workflows.evaluate import Evaluation
from mlcycle.workflows.predictions import bytes_of


def render(evaluation: Evaluation) -> str:
    """Returns the page as HTML; an image that cannot be read has no crop."""
    metrics = evaluation.metrics
    found = [(each.boxes_M4, each.scores_M) for each in evaluation.predictions]
    predictions = mistakes.Predictions(evaluation.images, found, evaluation.matches, metrics.balanced.threshold)
    return pages.render(
        "evaluation.html",
        title=f"Evaluation of {metrics.subject.model}",
        metrics=metrics,
        least_height=int(LEAST_HEIGHT),
        tiles=_tiles(metrics),
        curves=_curves(metrics) if metrics.coco.faces else [],
        histogram=detection.score_histogram(evaluation.matches, metrics.balanced.threshold),
        misses=mistakes.misses(predictions, _upright),
        false_alarms=mistakes.false_alarms(predictions, _upright),
    )


def _tiles(metrics: Metrics) -> list[tuple[str, str, str]]:
    intervals, tiles = metrics.intervals, []
    if metrics.wider:
        for name, level in metrics.wider.levels.items():
            tiles.append((f"WIDER {name}", share(level.ap), interval(metrics.wider.intervals[name])))
    if metrics.coco.faces:
        tiles.append(("AP50", share(metrics.coco.ap50), interval(intervals.ap50)))
        tiles.append(("AP .50 to .95", share(metrics.coco.ap), interval(intervals.ap)))
        note = f"{interval(intervals.quiet_recall)}, at one false alarm in ten images"
        tiles.append(("Recall", share(metrics.quiet.recall), note))
    if free := metrics.face_free:
        note = f"{interval(free.given_interval)}, per image, on {free.images:,} without a face"
        tiles.append(("False alarms", share(free.given.false_alarms), note))
    if points := metrics.landmarks:
        ends = f"{percent(points.mean_interval.least)} to {percent(points.mean_interval.most)}"
        tiles.append(("Landmark error", percent(points.mean), f"{ends}, of the face's size"))
    if metrics.milliseconds:
        total = sum(metrics.milliseconds.values())
        tiles.append(("Time", f"{total:.1f} ms", "per image, from file to faces, on one thread"))
    return tiles


def _curves(metrics: Metrics) -> list[tuple[str, Any]]:
    title, first = "All faces, by IoU", detection.iou_curves(metrics.coco)
    if metrics.wider:
        title = f"WIDER FACE, {metrics.wider.images:,} of the {metrics.wider.official:,} official images"
        first = _levels(metrics.wider)
    charts = [(title, first), ("By the height of the face, at IoU 0.5", detection.height_curves(metrics.coco))]
    return [(title, detection.precision_recall(title, curves)) for title, curves in charts]


def _levels(wider: WiderMetrics) -> list[Curve]:
    parts = ((name, level, level.precision_1000 > 0) for name, level in wider.levels.items() if level.faces)
    return [Curve(name, level.ap, level.recall_1000[some], level.precision_1000[some]) for name, level, some in parts]


def _upright(path: ImagePath) -> Image.Image | None:
    try:
        return images.decode(bytes_of(path)).upright()
    except images.UnreadableError:
        return None
