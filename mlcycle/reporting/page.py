"""The page of an evaluation: figures, curves, and the worst mistakes as pictures, in one file that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.landmarks import LandmarkError
from mlcycle.evaluation.matches import Matches
from mlcycle.evaluation.metrics import Figures, WiderFigures
from mlcycle.evaluation.operating_point import OperatingPoint
from mlcycle.reporting import charts, gallery, sections
from mlcycle.reporting.charts import Curve
from mlcycle.reporting.gallery import Picture
from mlcycle.reporting.sections import between, percent, share


def render(figures: Figures, matches: Matches, misses: Sequence[Picture], false_alarms: Sequence[Picture]) -> str:
    """Returns the page as HTML.

    Args:
        matches: what the figures were counted from.
        misses: the largest faces that were not found.
        false_alarms: the highest-scored detections of nothing.
    """
    parts = [_opening(figures), _tiles(figures)]
    if figures.coco.faces:
        parts += [_curves(figures), sections.sizes(figures.coco)]
    parts.append(_thresholds(figures, matches))
    if figures.landmarks:
        parts.append(_landmarks(figures.landmarks))
    parts += [
        sections.groups(figures.groups),
        gallery.misses(misses, figures.balanced.threshold),
        gallery.false_alarms(false_alarms),
        _closing(figures),
    ]
    return sections.page(f"{figures.subject.model}, evaluated", parts)


def _opening(figures: Figures) -> str:
    subject, whole = figures.subject, figures.coco
    long_side = f"at a long side of {subject.long_side} pixels" if subject.long_side else "at their original size"
    split = f", split {escape(subject.split)}" if subject.split else ""
    return f"""<h1>{escape(subject.model)}, evaluated</h1>
<p>On {whole.photographs:,} photographs of <code>{escape(subject.data)}</code>{split}, {long_side}, with {whole.faces:,}
labelled faces and {subject.ignored:,} boxes to be ignored.</p>"""


def _tiles(figures: Figures) -> str:
    intervals, tiles = figures.intervals, []
    if figures.wider:
        for name, level in figures.wider.levels.items():
            tiles.append((f"WIDER {name}", share(level.ap), between(figures.wider.intervals[name])))
    if figures.coco.faces:
        tiles.append(("AP50", share(figures.coco.ap50), between(intervals.ap50)))
        tiles.append(("AP .50 to .95", share(figures.coco.ap), between(intervals.ap)))
        note = f"{between(intervals.quiet_recall)}, at one false alarm in ten photographs"
        tiles.append(("Recall", share(figures.quiet.recall), note))
    if figures.face_free:
        of = f"a photograph, on {figures.face_free.photographs:,} without a face"
        note = f"{between(figures.face_free.given_interval)}, {of}"
        tiles.append(("False alarms", share(figures.face_free.given.false_alarms), note))
    if figures.landmarks:
        low, high = figures.landmarks.mean_interval.least, figures.landmarks.mean_interval.most
        note = f"{percent(low)} to {percent(high)}, of the face's size"
        tiles.append(("Landmark error", percent(figures.landmarks.mean), note))
    if figures.milliseconds:
        total = sum(figures.milliseconds.values())
        tiles.append(("Time", f"{total:.1f}<i>ms</i>", "a photograph, from file to faces, on one thread"))
    return f"""{sections.tiles(tiles)}
<p>“a to b”: there a figure lies in 95 of 100 samples of these photographs (bootstrap), and so it may on others that
are like them.</p>"""


def _curves(figures: Figures) -> str:
    first = _levels(figures.wider) if figures.wider else sections.fits(figures.coco)
    title = "All faces, by how well a box must fit"
    if figures.wider:
        title = f"WIDER FACE, {figures.wider.photographs:,} of the {figures.wider.official:,} official photographs"
    by_height = sections.precision_recall("By the height of the face, at IoU 0.5", sections.heights(figures.coco))
    return f"""<h2>Precision and recall</h2>
<div class=side>{sections.precision_recall(title, first)}{by_height}</div>"""


def _levels(wider: WiderFigures) -> list[Curve]:
    there = ((name, level, level.precision_1000 > 0) for name, level in wider.levels.items() if level.faces)
    return [Curve(name, level.ap, level.recall_1000[some], level.precision_1000[some]) for name, level, some in there]


def _thresholds(figures: Figures, matches: Matches) -> str:
    intervals = figures.intervals
    rows = [
        _threshold("balanced", figures.balanced, intervals.balanced_recall, intervals.balanced_false_alarms),
        _threshold("one false alarm in ten photographs", figures.quiet, intervals.quiet_recall, None),
    ]
    if figures.face_free:
        free = figures.face_free
        on = f"on the {free.photographs:,} without a face"
        rows = rows if figures.coco.faces else []
        rows.append(_threshold(f"balanced, {on}", free.given, None, free.given_interval))
        rows.append(_threshold(f"one in ten, {on}", free.allowed, None, None))
    columns = ["<td></td>", *sections.heads("threshold", "recall", "false alarms a photograph")]
    drawing = charts.histogram(
        matches.scores_D[matches.right_RTD[0, 0]], matches.scores_D[matches.wrong_RTD[0, 0]], figures.balanced.threshold
    )
    return f"""<h2>At a threshold</h2>
<div class=side>{sections.card("Scores of hits and false alarms, at IoU 0.5", drawing)}
{sections.table("At a threshold", columns, rows)}</div>"""


def _threshold(name: str, point: OperatingPoint, recall: Interval | None, alarms: Interval | None) -> str:
    threshold = f"{point.threshold:.3f}" if math.isfinite(point.threshold) else "none"
    cells = f"<td>{threshold}</td><td>{_with(point.recall, recall)}</td><td>{_with(point.false_alarms, alarms)}</td>"
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _with(value: float, interval: Interval | None) -> str:
    if interval is None:
        return share(value)
    # Shorter than elsewhere, for the narrow columns of a phone.
    return f"{share(value)} <small>{share(interval.least)}–{share(interval.most)}</small>"


def _landmarks(figures: LandmarkError) -> str:
    rows = [
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{percent(value)}</td></tr>'
        for name, value in figures.by_point.items()
    ]
    interval = f"{percent(figures.mean_interval.least)} to {percent(figures.mean_interval.most)}"
    return f"""<h2>Landmarks</h2>
<p>{figures.faces:,} of {figures.labelled:,} faces with labelled landmarks were found. There the points lie
{percent(figures.mean)} of the face's size ({interval}) from their labels; on {percent(figures.good)} of the faces
it is less than 10 %. The size is the square root of the labelled box's area.</p>
{sections.table("Landmarks", ["<td></td>", *sections.heads("mean error")], rows)}"""


def _closing(figures: Figures) -> str:
    subject = figures.subject
    unreadable = ""
    if subject.unreadable:
        unreadable = f"<p>{len(subject.unreadable):,} photographs could not be read; their faces count as missed.</p>"
    stages = ", ".join(f"{stage} {value:.1f} ms" for stage, value in figures.milliseconds.items())
    several = f", {subject.workers} at once" if subject.workers > 1 else ""
    return f"""<footer>{unreadable}<p>Scores from {subject.score_floor:g}, at most {subject.max_detections:,} boxes a
photograph. Time: {escape(stages or "none")}{several}.</p>
<p>Model <code>sha256 {escape(subject.sha256)}</code><br>Data <code>fingerprint {escape(subject.fingerprint)}</code></p>
</footer>"""
