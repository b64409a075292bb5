"""The part of a run's report that is about the run: its curves, its speed, where it ran, on what, by which recipe."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from mlcycle.reporting import sections
from mlcycle.reporting.timelines import Series, over_steps
from mlcycle.training.progress import flops
from mlcycle.training.run.run_summary import RunSummary

# Title, key in metrics.jsonl → name, and how it is drawn. What a run did not report is left out.
CURVES: tuple[tuple[str, dict[str, str], dict[str, Any]], ...] = (
    ("Held-out AP50", {"average_precision_50": "AP50"}, {"from_zero": False}),
    ("Held-out AP, IoU .50 to .95", {"average_precision": "AP"}, {"from_zero": False}),
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
    ("Images a second", {"images_per_second": "images a second"}, {}),
    ("Share of time waiting for data", {"data_wait_share": "waiting"}, {"is_share": True}),
)
MEBIBYTE = 2**20
# Keys of environment.json that have a place of their own.
TOLD_ELSEWHERE = ("data", "resumed", "packages")


def curves(summary: RunSummary) -> str:
    """Returns the section of curves; nothing where none was reported."""
    marks = [(part["step"], f"resumed at step {part['step']:,}") for part in summary.resumed if "step" in part]
    cards = []
    for title, names, how in CURVES:
        series = [Series(name, _points(summary, key)) for key, name in names.items()]
        drawing = over_steps(title, series, marks=marks, **how)
        if drawing:
            cards.append(sections.card(title, drawing))
    if not cards:
        return "<h2>Curves</h2><p>Nothing has been reported yet.</p>"
    resumed = "<p>Dotted upright lines: the run was resumed there.</p>" if marks else ""
    return f"<h2>Curves</h2>{resumed}<div class=side>{''.join(cards)}</div>{_evaluations(summary)}"


def _points(summary: RunSummary, key: str) -> list[tuple[float, float]]:
    points = summary.curve(key)
    # A landmark loss of nothing but zeros is that of a network without landmarks.
    return points if key != "landmark_loss" or any(value for _, value in points) else []


def _evaluations(summary: RunSummary) -> str:
    ap = dict(summary.curve("average_precision"))
    rows = [
        f'<tr><th scope="row">{step:,}</th><td>{value:.4f}</td><td>{ap.get(step, math.nan):.4f}</td></tr>'
        for step, value in summary.curve("average_precision_50")
    ]
    if not rows:
        return ""
    table = sections.table("Evaluations", sections.heads("step", "AP50", "AP"), rows)
    return f"<details><summary>the evaluations as a table</summary>{table}</details>"


def speed(summary: RunSummary) -> str:
    """Returns the section of speed; nothing where nothing was measured."""
    parts = summary.seconds_by_part()
    whole = sum(parts.values())
    if not whole:
        return ""
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td>{duration(seconds)}</td>'
        f'<td class="bar wide"><i style="width:{seconds / whole * 100:.1f}%"></i></td>'
        f"<td>{sections.percent(seconds / whole)}</td></tr>"
        for name, seconds in parts.items()
    ]
    table = sections.table("Time by part", ["<td></td><th>time</th><td class=wide></td><th>share</th>"], rows)
    most = max((value for _, value in summary.curve("memory_bytes")), default=0)
    memory = f", at most {most / MEBIBYTE:,.0f} MiB of memory" if most else ""
    rate = summary.mean_rate("flops_per_second")
    arithmetic = "" if math.isnan(rate) else f" ({flops.format_rate(rate)} of the network's convolutions)"
    return f"""<h2>Speed</h2>
<p>{summary.mean_rate("images_per_second"):,.1f} images a second over all steps{arithmetic}, {duration(whole)} in all,
{sections.percent(summary.mean_rate("data_wait_share"))} of the time of a step waiting for data{memory}.</p>
{table}"""


def data_and_environment(summary: RunSummary) -> str:
    """Returns the sections that say on what data and where the run was made."""
    data = _facts("Data", {key.replace("_", " "): value for key, value in summary.data.items()})
    parts = [_part(summary.environment, "Environment")] if summary.environment else []
    for part in summary.resumed:
        parts.append(_part(part, f"Resumed at step {part.get('step', '?')}", before=summary.environment))
    return data + "".join(parts)


def _part(told: dict[str, Any], title: str, before: dict[str, Any] | None = None) -> str:
    """One part of a run; of a later one, what is not as it was in the first."""
    facts = {key.replace("_", " "): value for key, value in told.items() if key not in (*TOLD_ELSEWHERE, "step")}
    packages = told.get("packages")
    if isinstance(packages, dict):
        facts["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    if before is None:
        return _facts(title, facts)
    first = {key.replace("_", " "): value for key, value in before.items()}
    first_packages = before.get("packages")
    same_packages = first_packages == packages
    changed = {
        key: value
        for key, value in facts.items()
        if (not same_packages if key == "packages" else first.get(key) != value) and key != "started from"
    }
    if not changed:
        return f"<h2>{escape(title)}</h2><p>In the same environment.</p>"
    return _facts(f"{title}, with another", changed)


def _facts(title: str, facts: dict[str, Any]) -> str:
    shown = {key: value for key, value in facts.items() if value is not None}
    if not shown:
        return ""
    rows = [
        f'<tr><th scope="row">{escape(key)}</th><td class=text>{escape(_told(value))}</td></tr>'
        for key, value in shown.items()
    ]
    return f"<h2>{escape(title)}</h2>{sections.table(title, [], rows)}"


def _told(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def recipe(summary: RunSummary) -> str:
    """Returns the recipe, folded up."""
    return f"<h2>Recipe</h2><details><summary>recipe.yaml</summary><pre>{escape(summary.recipe_text)}</pre></details>"


def duration(seconds: float) -> str:
    """Returns a duration in the two units that matter: 1 h 46 min, 4 min 20 s, 3.2 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
