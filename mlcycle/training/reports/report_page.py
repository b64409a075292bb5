"""A run's report as one page of HTML, which loads nothing and runs nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from mlcycle import __version__
from mlcycle.reporting import sections
from mlcycle.training.reports import report_facts, report_validation
from mlcycle.training.reports.report_validation import Validation
from mlcycle.training.run.run_summary import RunSummary


def render(summary: RunSummary, seen: Validation | None, why_not: str) -> str:
    """Returns the page.

    Args:
        seen: what was found on the held-out images; None where they were not looked at, with the reason in
            `why_not`.
    """
    val = report_validation.render(seen) if seen else [_nothing_seen(why_not)]
    parts = [
        _opening(summary),
        _tiles(summary, seen),
        report_facts.curves(summary),
        *val,
        report_facts.speed(summary),
        report_facts.data_and_environment(summary),
        report_facts.recipe(summary),
        _closing(seen),
    ]
    score = f", AP50 {summary.best.average_precision_50:.3f}" if summary.best else ""
    return sections.page(f"Training report: {summary.name}{score}", parts)


def _opening(summary: RunSummary) -> str:
    recipe = str(summary.recipe.get("name", "a recipe"))
    of = f" of {summary.planned:,}" if summary.planned else ""
    state = "" if summary.is_finished else " It has not come to its end: this is what there is so far."
    best = f"{_best(summary)} " if summary.best else "It has not been evaluated yet."
    return f"""<h1>Training report: {escape(summary.name)}</h1>
<p>A face detector by the recipe <code>{escape(recipe)}</code>, after {summary.steps:,}{of} steps on
{escape(str(summary.environment.get("device", "an unknown device")))}. {best}{state}</p>"""


def _best(summary: RunSummary) -> str:
    best = summary.best
    assert best
    val = summary.data.get("held_out_photographs")
    images = f"{val:,} held-out images" if isinstance(val, int) else "held-out images"
    return f"Its best score on {images} is an AP50 of <b>{best.average_precision_50:.3f}</b>, at step {best.step:,}."


def _tiles(summary: RunSummary, seen: Validation | None) -> str:
    tiles = []
    if seen and seen.whole.faces:
        ap50, ap = seen.intervals
        tiles.append(("AP50", sections.share(seen.whole.ap50), sections.between(ap50)))
        tiles.append(("AP .50 to .95", sections.share(seen.whole.ap), sections.between(ap)))
        if point := seen.points.get("balanced"):
            alarms = f"{point['false_alarms_a_photograph']:.2f} false alarms an image"
            tiles.append(("Recall, balanced", f"{point['recall']:.3f}", f"at {seen.threshold:.2f}, with {alarms}"))
    elif summary.best:
        at = f"at step {summary.best.step:,}"
        tiles.append(("AP50", sections.share(summary.best.average_precision_50), at))
        tiles.append(("AP .50 to .95", sections.share(summary.best.average_precision), at))
    if summary.seconds:
        tiles.append(("Time", _small_units(report_facts.duration(summary.seconds)), f"for {summary.steps:,} steps"))
        tiles.append(("Images a second", f"{summary.mean_rate('images_per_second'):,.0f}", "mean over all steps"))
        waiting = sections.percent(summary.mean_rate("data_wait_share"))
        tiles.append(("Waiting for data", waiting, "of the time of a step"))
    note = ""
    if seen:
        note = """<p>AP50 and AP are measured anew, image by image as the frozen file looks at them, and so
may be off in the third digit from the curve's. “a to b”: there a figure lies in 95 of 100 samples of the images
(bootstrap).</p>"""
    return sections.tiles(tiles) + note if tiles else ""


def _small_units(duration: str) -> str:
    """Returns a duration as HTML, its units smaller than its numbers."""
    return "".join(word if word[0].isdigit() else f"<i>{word}</i> " for word in duration.split()).rstrip()


def _nothing_seen(why_not: str) -> str:
    return f"""<h2>Held-out images</h2>
<p>There is nothing to show of them: {escape(why_not)}. Make this page anew when that has changed:
<code>mlcycle train report RUN</code>.</p>"""


def _closing(seen: Validation | None) -> str:
    if seen and seen.has_thumbnails:
        shown = len(seen.misses) + len(seen.false_alarms)
        images = f"""This page holds {shown} cut-outs of the held-out images: give it to nobody who may not see
these. <code>mlcycle train report RUN --no-images</code> makes one without."""
    else:
        images = "This page holds no images."
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"""<footer><p>{images} It loads nothing, and nothing was sent anywhere.</p>
<p>Made by mlcycle {escape(__version__)}, {now}.</p></footer>"""
