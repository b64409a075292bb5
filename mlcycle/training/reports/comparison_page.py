"""A comparison of runs as one HTML page, with their curves in the same charts."""

from __future__ import annotations

from mlcycle.reporting import pages
from mlcycle.training.reports import comparison, curves
from mlcycle.training.reports.comparison import Comparison


def render(compared: Comparison) -> str:
    """Returns the page."""
    lines = [(name, each.curve) for name, each in zip(compared.names, compared.summaries, strict=True)]
    return pages.render(
        "comparison.html",
        title=f"{len(compared.names)} runs compared",
        names=compared.names,
        is_same_data=compared.is_same_data,
        data_note=comparison.data_note(compared),
        metrics=comparison.metrics(compared),
        recipe=comparison.recipe_rows(compared),
        curves=curves.compared(lines),
    )
