"""A run's report as one page of HTML, which loads nothing and runs nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from mlcycle import __version__
from mlcycle.reporting import sections
from mlcycle.training.reports import report_facts, report_validation
from mlcycle.training.reports.report_validation import HeldOut
from mlcycle.training.run.run_summary import Story


def render(story: Story, seen: HeldOut | None, why_not: str) -> str:
    """Returns the page.

    Args:
        seen: what was found on the held-out photographs; None where they were not looked at, with the reason in
            `why_not`.
    """
    held_out = report_validation.render(seen) if seen else [_nothing_seen(why_not)]
    parts = [
        _opening(story),
        _tiles(story, seen),
        report_facts.curves(story),
        *held_out,
        report_facts.speed(story),
        report_facts.data_and_environment(story),
        report_facts.recipe(story),
        _closing(seen),
    ]
    score = f", AP50 {story.best.average_precision_50:.3f}" if story.best else ""
    return sections.page(f"Training report: {story.name}{score}", parts)


def _opening(story: Story) -> str:
    recipe = str(story.recipe.get("name", "a recipe"))
    of = f" of {story.planned:,}" if story.planned else ""
    state = "" if story.is_finished else " It has not come to its end: this is what there is so far."
    best = f"{_best(story)} " if story.best else "It has not been evaluated yet."
    return f"""<h1>Training report: {escape(story.name)}</h1>
<p>A face detector by the recipe <code>{escape(recipe)}</code>, after {story.steps:,}{of} steps on
{escape(str(story.environment.get("device", "an unknown device")))}. {best}{state}</p>"""


def _best(story: Story) -> str:
    best = story.best
    assert best
    held_out = story.data.get("held_out_photographs")
    photographs = f"{held_out:,} held-out photographs" if isinstance(held_out, int) else "held-out photographs"
    return (
        f"Its best score on {photographs} is an AP50 of <b>{best.average_precision_50:.3f}</b>, at step {best.step:,}."
    )


def _tiles(story: Story, seen: HeldOut | None) -> str:
    tiles = []
    if seen and seen.whole.faces:
        ap50, ap = seen.intervals
        tiles.append(("AP50", sections.share(seen.whole.ap50), sections.between(ap50)))
        tiles.append(("AP .50 to .95", sections.share(seen.whole.ap), sections.between(ap)))
        if point := seen.points.get("balanced"):
            alarms = f"{point['false_alarms_a_photograph']:.2f} false alarms a photograph"
            tiles.append(("Recall, balanced", f"{point['recall']:.3f}", f"at {seen.threshold:.2f}, with {alarms}"))
    elif story.best:
        at = f"at step {story.best.step:,}"
        tiles.append(("AP50", sections.share(story.best.average_precision_50), at))
        tiles.append(("AP .50 to .95", sections.share(story.best.average_precision), at))
    if story.seconds:
        tiles.append(("Time", _small_units(report_facts.duration(story.seconds)), f"for {story.steps:,} steps"))
        tiles.append(("Images a second", f"{story.mean_rate('images_per_second'):,.0f}", "mean over all steps"))
        waiting = sections.percent(story.mean_rate("data_wait_share"))
        tiles.append(("Waiting for data", waiting, "of the time of a step"))
    note = ""
    if seen:
        note = """<p>AP50 and AP are measured anew, photograph by photograph as the frozen file looks at them, and so
may be off in the third digit from the curve's. “a to b”: there a figure lies in 95 of 100 samples of the photographs
(bootstrap).</p>"""
    return sections.tiles(tiles) + note if tiles else ""


def _small_units(duration: str) -> str:
    """Returns a duration as HTML, its units smaller than its numbers."""
    return "".join(word if word[0].isdigit() else f"<i>{word}</i> " for word in duration.split()).rstrip()


def _nothing_seen(why_not: str) -> str:
    return f"""<h2>Held-out photographs</h2>
<p>There is nothing to show of them: {escape(why_not)}. Make this page anew when that has changed:
<code>mlcycle train report RUN</code>.</p>"""


def _closing(seen: HeldOut | None) -> str:
    if seen and seen.has_pictures:
        shown = len(seen.misses) + len(seen.false_alarms)
        pictures = f"""This page holds {shown} cut-outs of the held-out photographs: give it to nobody who may not see
these. <code>mlcycle train report RUN --no-pictures</code> makes one without."""
    else:
        pictures = "This page holds no photographs."
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"""<footer><p>{pictures} It loads nothing, and nothing was sent anywhere.</p>
<p>Made by mlcycle {escape(__version__)}, {now}.</p></footer>"""
