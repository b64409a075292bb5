"""Several runs side by side as one page of HTML, their curves over each other; it loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from mlcycle.reporting import sections
from mlcycle.reporting.timelines import Series, over_steps
from mlcycle.training.reports.comparison import Comparison, figures, said_of_data, told
from mlcycle.training.reports.report_facts import CURVES

Line = tuple[str, Callable[[str], Sequence[tuple[float, float]]]]


def render(comparison: Comparison) -> str:
    """Returns the page."""
    title = f"{len(comparison.names)} runs compared"
    rows = figures(comparison)
    recipe = [(key, [told(value) for value in values]) for key, values in comparison.differing.items()]
    distillation_loss = "<p>Their recipes are the same.</p>"
    if recipe:
        distillation_loss = _table("What differs in the recipes", comparison.names, recipe)
    warning = "" if comparison.is_same_data else " class=warning"
    parts = [
        f"<h1>{escape(title)}</h1><p{warning}>{escape(said_of_data(comparison))}</p>",
        _table("Scores and costs", comparison.names, rows),
        f"<h2>What differs in the recipes</h2>{distillation_loss}",
        curves([(name, each.curve) for name, each in zip(comparison.names, comparison.stories, strict=True)]),
        "<footer><p>This page holds no images. It loads nothing, and nothing was sent anywhere.</p></footer>",
    ]
    return sections.page(title, parts)


def _table(title: str, names: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> str:
    lines = [
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, cells in rows
    ]
    return sections.table(title, ["<td></td>", *sections.heads(*names)], lines)


def curves(lines: Sequence[Line], drawn: Sequence[tuple[str, dict[str, str], dict[str, Any]]] = CURVES) -> str:
    """Returns the section of curves, those of several runs over each other.

    Args:
        lines: a name, and what returns step and value of each point by a key of metrics.jsonl.
        drawn: which curves, as report_facts tells them.
    """
    cards = []
    for title, keys, how in drawn:
        key = next(iter(keys))  # of the losses their sum alone, or nobody could read it
        drawing = over_steps(title, [Series(name, points(key)) for name, points in lines], **how)
        if drawing:
            cards.append(sections.card("Loss, logarithmic" if key == "loss" else title, drawing))
    return f"<h2>Curves</h2><div class=side>{''.join(cards)}</div>" if cards else ""
