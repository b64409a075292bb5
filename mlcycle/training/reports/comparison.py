"""Compares runs: their scores and costs, and the differences between their recipes."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlcycle.training.progress import flops
from mlcycle.training.reports.report_facts import duration
from mlcycle.training.run.run_summary import RunSummary

SCHEMA_VERSION = 1
RATES = ("images_per_second", "flops_per_second", "data_wait_share")
NOTHING = "–"
# In characters: the least width of a run's column, and the gap between two columns.
LEAST, GAP = 8, 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs and their differences.

    Attributes:
        names: of the runs, all different.
        differing: key of the recipe ("schedule.steps") → its value in each run, None if the recipe has no such key;
            keys with the same value everywhere are left out.
        is_same_data: whether all were trained and evaluated on the same images and labels; None if a run has no
            fingerprint of its data.
    """

    summaries: tuple[RunSummary, ...]
    names: tuple[str, ...]
    differing: dict[str, list[Any]]
    is_same_data: bool | None


def compare(summaries: Sequence[RunSummary]) -> Comparison:
    """Returns the differences between runs."""
    flat = [summary.flat_recipe() for summary in summaries]
    keys = list(dict.fromkeys(key for recipe in flat for key in recipe))
    rows = {key: [recipe.get(key) for recipe in flat] for key in keys}
    differing = {key: values for key, values in rows.items() if any(value != values[0] for value in values)}
    prints = [summary.data.get("fingerprint") for summary in summaries]
    is_same = None if None in prints else len(set(prints)) == 1
    return Comparison(tuple(summaries), _names(summaries), differing, is_same)


def _names(summaries: Sequence[RunSummary]) -> tuple[str, ...]:
    names = [summary.name for summary in summaries]
    return tuple(names) if len(set(names)) == len(names) else tuple(str(summary.path) for summary in summaries)


def metrics(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Returns scores and costs: the name of each, and its text for each run."""
    rows: tuple[tuple[str, Callable[[RunSummary], str | None]], ...] = (
        ("AP50", lambda summary: f"{summary.best.average_precision_50:.4f}" if summary.best else None),
        ("AP .50 to .95", lambda summary: f"{summary.best.average_precision:.4f}" if summary.best else None),
        ("at step", lambda summary: f"{summary.best.step:,}" if summary.best else None),
        ("steps", _steps),
        ("time", lambda summary: duration(summary.seconds) if summary.seconds else None),
        ("images per second", lambda summary: _number(summary.mean_rate("images_per_second"), ",.1f")),
        ("arithmetic", lambda summary: _flops(summary.mean_rate("flops_per_second"))),
        ("waiting for data", lambda summary: _number(summary.mean_rate("data_wait_share"), ".1%")),
        ("device", lambda summary: summary.environment.get("device")),
        ("data", lambda summary: str(summary.data["fingerprint"])[:8] if "fingerprint" in summary.data else None),
    )
    return [(name, [text(summary) or NOTHING for summary in comparison.summaries]) for name, text in rows]


def recipe_rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Returns the keys in which the recipes differ, with the text of each run's value."""
    return [(key, [_text(value) for value in values]) for key, values in comparison.differing.items()]


def _steps(summary: RunSummary) -> str:
    return (
        f"{summary.steps:,}"
        if summary.is_finished or not summary.planned
        else f"{summary.steps:,} of {summary.planned:,}"
    )


def _flops(value: float) -> str | None:
    return None if math.isnan(value) else flops.format_rate(value)


def _number(value: float, form: str) -> str | None:
    return None if math.isnan(value) else format(value, form)


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data_note(comparison: Comparison) -> str:
    """Returns a sentence on whether the scores are comparable."""
    if comparison.is_same_data is None:
        return "A run has no fingerprint of its data, so the scores may not be comparable."
    if not comparison.is_same_data:
        return "The runs do not use the same data, so their scores are not comparable."
    return "All runs use the same data."


def as_table(comparison: Comparison, width: int) -> str:
    """Returns a table for a terminal of `width` columns; long cells are wrapped."""
    measured, recipe = metrics(comparison), recipe_rows(comparison)
    rows = [*measured, *recipe]
    runs = len(comparison.names)
    first = max(len(name) for name, _ in rows)
    first = max(12, min(first, width - runs * (LEAST + GAP)))
    column = max(LEAST, (width - first) // runs - GAP)
    column = min(column, max(len(cell) for cell in (*comparison.names, *(cell for _, row in rows for cell in row))))
    lines = _row("", comparison.names, first, column)
    for name, row in measured:
        lines += _row(name, row, first, column)
    lines += ["", "differences between the recipes:" if recipe else "The recipes are the same."]
    for name, row in recipe:
        lines += _row(name, row, first, column)
    return "\n".join(lines)


def _row(name: str, cells: Sequence[str], first: int, column: int) -> list[str]:
    folded = [_fold(name, first), *(_fold(cell, column) for cell in cells)]
    height = max(map(len, folded))
    padded = [[*lines, *[""] * (height - len(lines))] for lines in folded]
    gap = " " * GAP
    return [
        gap.join([f"{line[0]:<{first}}", *(f"{cell:>{column}}" for cell in line[1:])]).rstrip()
        for line in zip(*padded, strict=True)
    ]


def _fold(text: str, width: int) -> list[str]:
    # The name of a folder may hold control characters of a terminal.
    printable = "".join(each if each.isprintable() else "?" for each in text)
    return textwrap.wrap(printable, width, break_long_words=True, break_on_hyphens=False) or [""]


def as_json(comparison: Comparison) -> str:
    """Returns one JSON document; a missing value is null."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "is_same_data": comparison.is_same_data,
        "runs": [_run(summary) for summary in comparison.summaries],
        "recipe_differences": comparison.differing,
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False)


def _run(summary: RunSummary) -> dict[str, Any]:
    best, rates = summary.best, {key: summary.mean_rate(key) for key in RATES}
    return {
        "path": str(summary.path),
        "recipe": summary.recipe.get("name"),
        "is_finished": summary.is_finished,
        "steps": summary.steps,
        "planned_steps": summary.planned,
        "seconds": summary.seconds,
        "best_step": best.step if best else None,
        "average_precision_50": best.average_precision_50 if best else None,
        "average_precision": best.average_precision if best else None,
        **{key: None if math.isnan(value) else round(value, 4) for key, value in rates.items()},
        "device": summary.environment.get("device"),
        "data_fingerprint": summary.data.get("fingerprint"),
    }
