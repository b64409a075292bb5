"""A sweep as one HTML page: its table, scores over values, and curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

from mlcycle.reporting import pages
from mlcycle.reporting.charts.series import Trials, over_values
from mlcycle.training.reports import comparison, curves
from mlcycle.training.reports.report_facts import duration
from mlcycle.training.studies import sweep_table
from mlcycle.training.studies.sweep_folder import FINISHED, Run
from mlcycle.training.studies.sweep_grid import SEED, value_text
from mlcycle.training.studies.sweep_table import Row

# The most lines in one chart.
LINES = 6
# Scores and losses; the other curves are the same for most settings.
DRAWN = curves.CURVES[:3]


def render(name: str, runs: Sequence[Run], keys: Sequence[str]) -> str:
    """Returns the page.

    Args:
        name: of the sweep.
        keys: the swept keys.
    """
    rows = sweep_table.rows(runs)
    columns, lines = sweep_table.as_lines(runs, keys)
    started = [row for row in rows if row.counted]
    finished = sum(each.state == FINISHED for each in runs)
    by_value = _by_value(rows, runs, keys)
    charts = [(key, over_values(f"Validation AP50 over {key}", values, lines)) for key, values, lines in by_value]
    return pages.render(
        "sweep.html",
        title=f"Sweep: {name}",
        runs=runs,
        keys=keys,
        state="all finished" if finished == len(runs) else f"{finished} finished",
        warning=_warning(runs),
        tiles=_tiles(rows, runs),
        has_seeds=SEED in keys,
        columns=columns,
        lines=lines,
        by_value=[(key, chart) for key, chart in charts if chart],
        is_repeated=any(len(scores) > 1 for _, _, lines in by_value for line in lines for scores in line.scores),
        curves=curves.compared([(row.name, partial(mean_curve, row)) for row in started[:LINES]], DRAWN),
        started=len(started),
        shown=LINES,
        unfinished=[
            (each.name, each.state, sweep_table.shortened(each.entry.reason)) for each in runs if each.state != FINISHED
        ],
    )


def _warning(runs: Sequence[Run]) -> str:
    summaries = [each.summary for each in runs if each.summary]
    if len(summaries) < 2:
        return ""
    compared = comparison.compare(summaries)
    return "" if compared.is_same_data else comparison.data_note(compared)


def _tiles(rows: Sequence[Row], runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    best = rows[0]
    if math.isnan(best.ap50.mean):
        return []
    spread = "" if math.isnan(best.ap50.deviation) else f", ± {best.ap50.deviation:.3f} over seeds"
    seconds = sum(each.entry.seconds for each in runs)
    return [("Best AP50", f"{best.ap50.mean:.3f}", f"{best.name}{spread}"), ("Time", duration(seconds), "of all runs")]


def _by_value(
    rows: Sequence[Row], runs: Sequence[Run], keys: Sequence[str]
) -> list[tuple[str, list[str], list[Trials]]]:
    """Returns the scores over each swept key with several values, over seeds only if alone: key, values, lines."""
    found = []
    for key in [each for each in keys if each != SEED] or keys:
        values = _distinct([each.entry.values.get(key) for each in runs])
        if len(values) > 1:
            lines = _lines(key, values, rows if key != SEED else [], runs)
            found.append((key, [value_text(each) for each in values], lines))
    return found


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Returns the distinct values, numbers in ascending order, others in the order given."""
    distinct = [value for number, value in enumerate(values) if value not in values[:number]]
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    return sorted(distinct) if are_numbers else distinct


def _lines(key: str, values: Sequence[Any], rows: Sequence[Row], runs: Sequence[Run]) -> list[Trials]:
    """Returns a line for each combination of the other keys, or a single one of all runs if there are too many."""
    others: dict[str, list[Run]] = {}
    for each in rows:
        rest = {name: value for name, value in each.values.items() if name != key}
        named = ", ".join(f"{name.rpartition('.')[2]} {value_text(value)}" for name, value in rest.items())
        others.setdefault(named, []).extend(each.runs)
    if not 1 <= len(others) <= LINES:
        others = {"all runs": list(runs)}
    return [
        Trials(name or "all runs", [_scores(key, value, some) for value in values]) for name, some in others.items()
    ]


def _scores(key: str, value: Any, runs: Sequence[Run]) -> list[float]:
    finished = [each for each in runs if each.entry.values.get(key) == value and each.state == FINISHED]
    return [each.summary.best.average_precision_50 for each in finished if each.summary and each.summary.best]


def mean_curve(row: Row, key: str) -> list[tuple[float, float]]:
    """Returns the mean curve of a setting's runs, at the steps that all of them have reported."""
    found = [dict(each.curve(key)) for each in row.counted]
    steps = [step for step in found[0] if all(step in each for each in found)]
    return [(step, statistics.fmean(each[step] for each in found)) for step in steps]
