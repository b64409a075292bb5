"""A sweep as one page of HTML: its table, scores over values, curves over each other; it loads nothing and runs
nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html import escape
from typing import Any

from mlcycle.reporting import sections
from mlcycle.reporting.value_charts import Tried, over_values
from mlcycle.training.reports import comparison, comparison_page
from mlcycle.training.reports.report_facts import CURVES, duration
from mlcycle.training.studies import sweep_table
from mlcycle.training.studies.sweep_folder import FINISHED, Run
from mlcycle.training.studies.sweep_grid import SEED, in_words
from mlcycle.training.studies.sweep_table import Row

# Lines that can be told apart in one drawing.
LINES = 6
# Scores and losses; the others are the same for most settings.
DRAWN = CURVES[:3]


def render(name: str, runs: Sequence[Run], keys: Sequence[str]) -> str:
    """Returns the page.

    Args:
        name: of the sweep.
        keys: those that are swept over.
    """
    rows = sweep_table.rows(runs)
    parts = [
        _opening(name, runs, keys),
        _tiles(rows, runs),
        _table(runs, keys),
        _by_value(rows, runs, keys),
        _curves(rows),
        _not_finished(runs),
        """<footer><p>This page holds no images. It loads nothing, and nothing was sent anywhere. Single runs side
by side: <code>mlcycle train compare RUN RUN --html FILE</code>.</p></footer>""",
    ]
    return sections.page(f"Sweep: {name}", parts)


def _opening(name: str, runs: Sequence[Run], keys: Sequence[str]) -> str:
    finished = sum(each.state == FINISHED for each in runs)
    over = ", ".join(f"<code>{escape(key)}</code>" for key in keys)
    state = "all finished" if finished == len(runs) else f"{finished} finished"
    stories = [each.summary for each in runs if each.summary]
    warning = ""
    if len(stories) > 1 and not (compared := comparison.compare(stories)).is_same_data:
        warning = f"<p class=warning>{escape(comparison.said_of_data(compared))}</p>"
    return f"<h1>Sweep: {escape(name)}</h1><p>{len(runs):,} runs over {over}, {state}.</p>{warning}"


def _tiles(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    best = rows[0]
    if math.isnan(best.ap50.mean):
        return ""
    spread = "" if math.isnan(best.ap50.deviation) else f", ± {best.ap50.deviation:.3f} over seeds"
    seconds = sum(each.entry.seconds for each in runs)
    return sections.tiles(
        [
            ("Best AP50", f"{best.ap50.mean:.3f}", f"{best.name}{spread}"),
            ("Time", duration(seconds), "of all runs together"),
        ]
    )


def _table(runs: Sequence[Run], keys: Sequence[str]) -> str:
    heads, lines = sweep_table.as_lines(runs, keys)
    made = [
        f'<tr><th scope="row">{escape(line[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in line[1:])}</tr>'
        for line in lines
    ]
    seeds = " “±”: standard deviation over seeds; the other figures are means, minutes the sum." if SEED in keys else ""
    return f"""<h2>Settings, best first</h2>
<p>AP50 and AP are the best on held-out images during training, “step” where that was; the loss is the last that
was reported.{seeds}</p>
{sections.table("Settings, best first", sections.heads(*heads), made)}"""


def _by_value(rows: Sequence[Row], runs: Sequence[Run], keys: Sequence[str]) -> str:
    cards = []
    for key in [each for each in keys if each != SEED] or keys:
        values = _in_order([each.entry.values.get(key) for each in runs])
        if len(values) > 1:
            lines = _lines(key, values, rows if key != SEED else [], runs)
            drawing = over_values(f"Held-out AP50 over {key}", [in_words(value) for value in values], lines)
            cards += [sections.card(key, drawing)] if drawing else []
    if not cards:
        return ""
    return f"""<h2>Held-out AP50 by value</h2>
<p>A dot is a run that has finished; the lines go through the means. Values lie evenly, whatever is between them.</p>
<div class=side>{"".join(cards)}</div>"""


def _in_order(values: Sequence[Any]) -> list[Any]:
    """Returns the values that there are, numbers by size, others as they came."""
    unlike = [value for number, value in enumerate(values) if value not in values[:number]]
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in unlike)
    return sorted(unlike) if are_numbers else unlike


def _lines(key: str, values: Sequence[Any], rows: Sequence[Row], runs: Sequence[Run]) -> list[Tried]:
    """Returns a line for each combination of the other keys, or, where these are too many to be told apart, one of
    all."""
    others: dict[str, list[Run]] = {}
    for each in rows:
        rest = {name: value for name, value in each.values.items() if name != key}
        named = ", ".join(f"{name.rpartition('.')[2]} {in_words(value)}" for name, value in rest.items())
        others.setdefault(named, []).extend(each.runs)
    if not 1 <= len(others) <= LINES:
        others = {"all runs": list(runs)}
    return [Tried(name or "all runs", [_scores(key, value, some) for value in values]) for name, some in others.items()]


def _scores(key: str, value: Any, runs: Sequence[Run]) -> list[float]:
    mine = [each for each in runs if each.entry.values.get(key) == value and each.state == FINISHED]
    return [each.summary.best.average_precision_50 for each in mine if each.summary and each.summary.best]


def _curves(rows: Sequence[Row]) -> str:
    begun = [row for row in rows if row.counted]
    lines = [(row.name, lambda key, row=row: mean_curve(row, key)) for row in begun[:LINES]]
    said = f"<p>The best {LINES} of {len(begun)} settings.</p>" if len(begun) > LINES else ""
    return comparison_page.curves(lines, DRAWN) + said


def mean_curve(row: Row, key: str) -> list[tuple[float, float]]:
    """Returns the mean of a setting's runs at the steps that all of them have reported."""
    curves = [dict(each.curve(key)) for each in row.counted]
    steps = [step for step in curves[0] if all(step in each for each in curves)]
    return [(step, statistics.fmean(each[step] for each in curves)) for step in steps]


def _not_finished(runs: Sequence[Run]) -> str:
    lines = [
        f'<tr><th scope="row">{escape(each.name)}</th><td>{escape(each.state)}</td>'
        f"<td class=text>{escape(sweep_table.shortened(each.entry.reason))}</td></tr>"
        for each in runs
        if each.state != FINISHED
    ]
    if not lines:
        return ""
    table = sections.table(
        "Runs that have not finished", [*sections.heads("run", "state"), "<th class=text>what it said last</th>"], lines
    )
    return f"<h2>Runs that have not finished</h2>{table}"
