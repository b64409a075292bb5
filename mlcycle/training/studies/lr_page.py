"""The result of the learning-rate finder as one HTML page."""

from __future__ import annotations

from mlcycle.reporting import pages
from mlcycle.reporting.charts.series import over_rates
from mlcycle.training.studies.lr_curve import LrCurve


def rate_text(rate: float) -> str:
    """Returns a learning rate with two digits, the precision of the test."""
    return f"{rate:.2g}"


def render(name: str, curve: LrCurve, recipe_rate: float, command: str) -> str:
    """Returns the page.

    Args:
        name: of the recipe.
        recipe_rate: the recipe's own learning rate.
        command: trains with the suggested rate.
    """
    marks, tiles = [], []
    if suggestion := curve.suggestion:
        marks = [(suggestion.rate, "suggested"), (suggestion.lowest, "lowest loss")]
        tiles = [
            ("Suggested rate", rate_text(suggestion.rate), "where the loss falls most steeply"),
            ("Lowest loss", rate_text(suggestion.lowest), "the rate where it is reached"),
        ]
    tiles.append(("The recipe's rate", rate_text(recipe_rate), "schedule.learning_rate"))
    if curve.rates[0] <= recipe_rate <= curve.rates[-1]:
        marks.append((recipe_rate, "the recipe's"))
    return pages.render(
        "lr_find.html",
        title=f"Learning rates for {name}",
        ending=ending(curve),
        device=curve.device,
        tiles=tiles,
        chart=over_rates(curve.rates, curve.losses, curve.smoothed_N.tolist(), marks),
        command=command if suggestion else "",
    )


def ending(curve: LrCurve) -> str:
    """Returns a sentence on the rates that were tried and whether the loss diverged."""
    tried = f"{len(curve.rates)} steps at rates from {rate_text(curve.rates[0])} to {rate_text(curve.rates[-1])}"
    if curve.has_diverged:
        return f"{tried}, where the loss diverged."
    if curve.suggestion and not curve.suggestion.is_at_end:
        return f"{tried}; the loss rises above {rate_text(curve.suggestion.lowest)}, and does not diverge."
    return f"{tried}; the loss does not diverge."
