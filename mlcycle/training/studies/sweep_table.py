"""A sweep as a table with a row for each setting, over its seeds, and as CSV with a row for each run."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from mlcycle.csv_rows import Rows
from mlcycle.training.reports.comparison import NOTHING
from mlcycle.training.run.run_summary import RunSummary
from mlcycle.training.studies.sweep_folder import FINISHED, Run
from mlcycle.training.studies.sweep_grid import SEED, value_text

# Characters of a reason that shares a line with other text.
SHORT = 110
# The loss is the last that was reported; minutes are the sum over seeds.
METRICS = ("AP50", "AP", "step", "loss", "min")


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a metric over runs, and its sample standard deviation; NaN if there are too few runs."""

    mean: float
    deviation: float

    def text(self, form: str) -> str:
        if math.isnan(self.mean):
            return NOTHING
        # Short, for a terminal of 80 columns: 0.512 ±.013.
        spread = "" if math.isnan(self.deviation) else f" ±{f'{self.deviation:{form}}'.removeprefix('0')}"
        return f"{self.mean:{form}}{spread}"


@dataclass(frozen=True, slots=True)
class Row:
    """A setting: its values without the seed, all its runs, and the runs that its metrics are computed from.

    These are the finished runs, or, if none has finished, those that have started.
    """

    values: dict[str, Any]
    runs: tuple[Run, ...]
    counted: tuple[RunSummary, ...]

    @property
    def finished(self) -> int:
        return sum(each.state == FINISHED for each in self.runs)

    @property
    def name(self) -> str:
        """Its values without their keys' sections, or "all" if only seeds are swept."""
        return ", ".join(f"{key.rpartition('.')[2]} {value_text(value)}" for key, value in self.values.items()) or "all"

    @property
    def ap50(self) -> Mean:
        return _mean([each.best.average_precision_50 for each in self.counted if each.best])

    @property
    def ap(self) -> Mean:
        return _mean([each.best.average_precision for each in self.counted if each.best])

    @property
    def best_step(self) -> float:
        """The mean step of the best scores."""
        return _mean([each.best.step for each in self.counted if each.best]).mean

    @property
    def loss(self) -> float:
        """The mean of the last losses."""
        return _mean([value for each in self.counted if not math.isnan(value := last_loss(each))]).mean

    @property
    def minutes(self) -> float:
        """The sum over all its runs."""
        return sum(each.entry.seconds for each in self.runs) / 60

    @property
    def state(self) -> str:
        """The state of its unfinished runs; empty if all have finished."""
        states = [each.state for each in self.runs if each.state != FINISHED]
        if states and len(self.runs) == 1:
            summary = self.runs[0].summary
            return f"{states[0]} at step {summary.steps:,}" if summary else states[0]
        return ", ".join(f"{states.count(each)} {each}" for each in dict.fromkeys(states))


def rows(runs: Sequence[Run]) -> list[Row]:
    """Returns the settings, best first by mean AP50, then AP; those without a finished run come last."""
    groups: dict[str, list[Run]] = {}
    for each in runs:
        groups.setdefault(repr(_without_seed(each)), []).append(each)
    made = [Row(_without_seed(group[0]), tuple(group), _counted(group)) for group in groups.values()]

    def rank(row: Row) -> tuple[bool, float, float]:
        return row.finished > 0, _or_least(row.ap50.mean), _or_least(row.ap.mean)

    return sorted(made, key=rank, reverse=True)


def _counted(runs: Sequence[Run]) -> tuple[RunSummary, ...]:
    finished = tuple(each.summary for each in runs if each.state == FINISHED and each.summary)
    return finished or tuple(each.summary for each in runs if each.summary)


def _without_seed(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.entry.values.items() if key != SEED}


def _mean(values: Sequence[float]) -> Mean:
    if not values:
        return Mean(math.nan, math.nan)
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan)


def _or_least(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def last_loss(summary: RunSummary) -> float:
    """Returns the last loss that was reported; NaN before the first."""
    losses = summary.curve("loss")
    return losses[-1][1] if losses else math.nan


def columns(keys: Sequence[str], *, has_seeds: bool, has_states: bool) -> list[str]:
    """Returns the heads of the table: the last parts of the swept keys, and the metrics."""
    swept = [each for each in keys if each != SEED]
    words = [each.rpartition(".")[2] for each in swept]
    short = [word if words.count(word) == 1 else key for key, word in zip(swept, words, strict=True)]
    return [*short, *["seeds"] * has_seeds, *METRICS, *[""] * has_states]


def cells(row: Row, *, has_seeds: bool, has_states: bool) -> list[str]:
    """Returns the cells of a row, in the order of `columns`."""
    seeds = f"{row.finished}" if row.finished == len(row.runs) else f"{row.finished} of {len(row.runs)}"
    step = NOTHING if math.isnan(row.best_step) else f"{row.best_step:,.0f}"
    loss = NOTHING if math.isnan(row.loss) else f"{row.loss:.3f}"
    metrics = [row.ap50.text(".3f"), row.ap.text(".3f"), step, loss, f"{row.minutes:.1f}"]
    return [*map(value_text, row.values.values()), *[seeds] * has_seeds, *metrics, *[row.state] * has_states]


def as_lines(runs: Sequence[Run], keys: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Returns the heads of the table and the cells of its rows, best first."""
    made = rows(runs)
    shown = {"has_seeds": SEED in keys, "has_states": any(row.state for row in made)}
    return columns(keys, **shown), [cells(row, **shown) for row in made]


def as_table(runs: Sequence[Run], keys: Sequence[str]) -> Table:
    """Returns the table for a terminal."""
    heads, lines = as_lines(runs, keys)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, justify="left" if head == "" else "right", overflow="fold", no_wrap=head in METRICS)
    for line in lines:
        table.add_row(*map(_printable, line))
    return table


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text).replace("[", r"\[")


def shortened(reason: str) -> str:
    """Returns a reason cut to fit into a line."""
    return reason if len(reason) <= SHORT else f"{reason[:SHORT].rstrip()} …"


def as_csv(runs: Sequence[Run], keys: Sequence[str]) -> str:
    """Returns a line for each run, best first, with its metrics at full precision; missing values are empty."""
    text = io.StringIO()
    writer = Rows(text)
    writer.writerow(
        ["run", *keys, "state", "average_precision_50", "average_precision", "best_step", "last_loss", "steps",
         "seconds", "exit_code", "reason"]
    )  # fmt: skip
    for row in rows(runs):
        for run in row.runs:
            writer.writerow([run.name, *(value_text(run.entry.values.get(key)) for key in keys), *_metrics(run)])
    return text.getvalue()


def _metrics(run: Run) -> list[Any]:
    summary = run.summary
    best, loss = (summary.best, last_loss(summary)) if summary else (None, math.nan)
    return [
        run.state,
        *((best.average_precision_50, best.average_precision, best.step) if best else ("", "", "")),
        "" if math.isnan(loss) else loss,
        summary.steps if summary else 0,
        run.entry.seconds,
        "" if run.entry.code is None else run.entry.code,
        run.entry.reason,
    ]
