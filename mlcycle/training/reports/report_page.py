"""A run's report as one HTML page."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from mlcycle import __version__
from mlcycle.counted import counted
from mlcycle.reporting import pages
from mlcycle.reporting.charts import detection
from mlcycle.reporting.charts.detection import Mark
from mlcycle.reporting.pages import interval, percent, share
from mlcycle.training.progress import flops
from mlcycle.training.reports import curves, report_facts
from mlcycle.training.reports.report_facts import duration
from mlcycle.training.reports.report_validation import Validation
from mlcycle.training.run.run_summary import RunSummary

MEBIBYTE = 2**20


def render(summary: RunSummary, validation: Validation | None, missing_reason: str) -> str:
    """Returns the page.

    Args:
        validation: the results on the validation images, or None if there are none, with the reason in
            `missing_reason`.
    """
    score = f", AP50 {summary.best.average_precision_50:.3f}" if summary.best else ""
    rate = summary.mean_rate("flops_per_second")
    return pages.render(
        "run_report.html",
        title=f"Training report: {summary.name}{score}",
        summary=summary,
        val_images=summary.data.get("held_out_photographs"),
        validation=validation,
        missing_reason=missing_reason,
        tiles=_tiles(summary, validation),
        curves=curves.of_run(summary),
        evaluations=[
            (each["step"], each["average_precision_50"], each["average_precision"]) for each in summary.evaluations()
        ],
        time=report_facts.time_by_part(summary),
        duration=duration(sum(summary.seconds_by_part().values())),
        arithmetic="" if math.isnan(rate) else flops.format_rate(rate),
        memory_mib=max((value for _, value in summary.curve("memory_bytes")), default=0) / MEBIBYTE,
        environment=report_facts.environments(summary),
        version=__version__,
        now=datetime.now(UTC),
        **(_charts(validation) if validation else {}),
    )


def _tiles(summary: RunSummary, validation: Validation | None) -> list[tuple[str, str, str]]:
    tiles = []
    if validation and validation.whole.faces:
        ap50, ap = validation.intervals
        tiles.append(("AP50", share(validation.whole.ap50), interval(ap50)))
        tiles.append(("AP .50 to .95", share(validation.whole.ap), interval(ap)))
        if point := validation.points.get("balanced"):
            alarms = f"{point['false_alarms_a_photograph']:.2f} false alarms per image"
            note = f"at {validation.threshold:.2f}, with {alarms}"
            tiles.append(("Recall, balanced", f"{point['recall']:.3f}", note))
    elif best := summary.best:
        tiles.append(("AP50", share(best.average_precision_50), f"at step {best.step:,}"))
        tiles.append(("AP .50 to .95", share(best.average_precision), f"at step {best.step:,}"))
    if summary.seconds:
        tiles.append(("Time", duration(summary.seconds), f"for {counted(summary.steps, 'step')}"))
        tiles.append(("Images per second", f"{summary.mean_rate('images_per_second'):,.0f}", "mean over all steps"))
        tiles.append(("Waiting for data", percent(summary.mean_rate("data_wait_share")), "of the time of the steps"))
    return tiles


def _charts(validation: Validation) -> dict[str, Any]:
    marks = [
        Mark(f"{name} {validation.thresholds[name]:.2f}", point["recall"], point["precision"])
        for name, point in validation.points.items()
        if point["recall"] is not None and point["precision"] is not None
    ]
    by_iou, by_height = "All faces, by IoU", "By the height of the face, at IoU 0.5"
    return {
        "precision_recall": [
            (by_iou, detection.precision_recall(by_iou, detection.iou_curves(validation.whole), marks)),
            (by_height, detection.precision_recall(by_height, detection.height_curves(validation.whole))),
        ],
        "histogram": detection.score_histogram(validation.matches, validation.threshold),
        "reliability": detection.reliability_diagram(validation.calibration) if validation.calibration.bins else "",
    }
