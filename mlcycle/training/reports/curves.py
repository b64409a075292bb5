"""The curves of runs as charts: those of one run, and those of several runs in the same chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcycle.reporting.charts.series import Series, over_steps
from mlcycle.training.run.run_summary import RunSummary

# Title, key in metrics.jsonl → name, and options of the chart. What a run did not report is left out.
Drawn = tuple[str, dict[str, str], dict[str, Any]]
CURVES: tuple[Drawn, ...] = (
    ("Validation AP50", {"average_precision_50": "AP50"}, {"is_score": True}),
    ("Validation AP, IoU .50 to .95", {"average_precision": "AP"}, {"is_score": True}),
    (
        "Loss and its parts, logarithmic",
        {
            "loss": "loss",
            "score_loss": "score",
            "box_loss": "box",
            "landmark_loss": "landmarks",
            "teacher_loss": "teacher",
        },
        {"is_log": True},
    ),
    ("Learning rate", {"learning_rate": "learning rate"}, {}),
    ("Images per second", {"images_per_second": "images per second"}, {}),
    ("Waiting for data, of the steps", {"data_wait_share": "waiting"}, {"as_percent": True}),
)

# A name, and a function that returns step and value of each point of a key of metrics.jsonl.
Line = tuple[str, Callable[[str], Sequence[tuple[float, float]]]]


def of_run(summary: RunSummary) -> list[tuple[str, str]]:
    """Returns title and chart of each curve that a run has reported, with marks where it was resumed."""
    marks = [(part["step"], f"resumed at step {part['step']:,}") for part in summary.resumed if "step" in part]
    charts = []
    for title, names, options in CURVES:
        series = [Series(name, _points(summary, key)) for key, name in names.items()]
        charts.append((title, over_steps(title, series, marks=marks, **options)))
    return [(title, chart) for title, chart in charts if chart]


def _points(summary: RunSummary, key: str) -> list[tuple[float, float]]:
    points = summary.curve(key)
    # A network without landmarks reports a landmark loss of 0.
    return points if key != "landmark_loss" or any(value for _, value in points) else []


def compared(lines: Sequence[Line], drawn: Sequence[Drawn] = CURVES) -> list[tuple[str, str]]:
    """Returns title and chart of each curve, with one line for each run; of the losses only their sum."""
    charts = []
    for title, keys, options in drawn:
        key = next(iter(keys))
        chart = over_steps(title, [Series(name, points(key)) for name, points in lines], **options)
        charts.append(("Loss, logarithmic" if key == "loss" else title, chart))
    return [(title, chart) for title, chart in charts if chart]
