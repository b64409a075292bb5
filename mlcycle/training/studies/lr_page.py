"""A learning-rate range test as one page of HTML; it loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mlcycle.reporting import sections
from mlcycle.reporting.lr_chart import over_rates
from mlcycle.training.studies.lr_curve import Found

HOW = """<div class=card><h3>How it is read</h3>
<p>A dot is a step on a batch of the recipe, each at a larger rate than the one before. The line is the mean of
neighbours.</p>
<p>The suggestion is the rate at which the line falls most steeply before its lowest point, after L. N. Smith, Cyclical
Learning Rates for Training Neural Networks, 2017. Near the lowest point and beyond, training is at risk.</p>
<p>It is where to begin to look: a long training may want a smaller rate. <code>mlcycle train sweep</code> measures
which.</p></div>"""


def told(rate: float) -> str:
    """Returns a rate in two digits: finer, no range test can tell."""
    return f"{rate:.2g}"


def render(name: str, found: Found, own: float, command: str) -> str:
    """Returns the page.

    Args:
        name: of the recipe.
        own: the recipe's own rate.
        command: how to train with what is suggested.
    """
    marks, tiles, next_step = [], [], ""
    if found.suggestion:
        rate, lowest = found.suggestion.rate, found.suggestion.lowest
        marks = [(rate, "suggested"), (lowest, "lowest loss")]
        tiles = [
            ("Suggested rate", told(rate), "where the loss falls most steeply"),
            ("Lowest loss", told(lowest), "the rate where it is reached"),
        ]
        next_step = f"<h2>To use it</h2><pre>{escape(command)}</pre>"
    tiles.append(("The recipe's rate", told(own), "schedule.learning_rate"))
    if found.rates[0] <= own <= found.rates[-1]:
        marks.append((own, "the recipe's"))
    parts = [
        f"<h1>Learning rates for {escape(name)}</h1><p>{escape(ending(found))} On {escape(found.device)}.</p>",
        sections.tiles(tiles),
        f"<div class=side>{_drawing(found, marks)}{HOW}</div>",
        next_step,
        "<footer><p>This page holds no images. It loads nothing, and nothing was sent anywhere.</p></footer>",
    ]
    return sections.page(f"Learning rates for {name}", parts)


def ending(found: Found) -> str:
    """Returns a sentence on how far the test came."""
    tried = f"{len(found.rates)} steps at rates from {told(found.rates[0])} to {told(found.rates[-1])}"
    return (
        f"{tried}, where the loss had risen again." if found.has_diverged else f"{tried}; the loss did not rise again."
    )


def _drawing(found: Found, marks: Sequence[tuple[float, str]]) -> str:
    drawing = over_rates(found.rates, found.losses, found.smoothed_N.tolist(), marks)
    legend = "".join(
        f'<li><i style="background:var(--c{number})"></i>{escape(name)} <b>{told(rate)}</b></li>'
        for number, (rate, name) in enumerate(marks, 1)
    )
    return sections.card("Loss by learning rate", f"{drawing}<ul class=legend>{legend}</ul>")
