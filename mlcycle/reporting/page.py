"""The page of an evaluation: figures, curves, and the worst mistakes as images, in one file that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.landmarks import LandmarkError
from mlcycle.evaluation.matches import Matches
from mlcycle.evaluation.metrics import Metrics, WiderMetrics
from mlcycle.evaluation.operating_point import OperatingPoint
from mlcycle.reporting import charts, gallery, sections
from mlcycle.reporting.charts import Curve
from mlcycle.reporting.gallery import Thumbnail
from mlcycle.reporting.sections import between, percent, share


def render(metrics: Metrics, matches: Matches, misses: Sequence[Thumbnail], false_alarms: Sequence[Thumbnail]) -> str:
    """Returns the page as HTML.

    Args:
        matches: what the figures were counted from.
        misses: the largest faces that were not found.
        false_alarms: the highest-scored detections of nothing.
    """
    parts = [_opening(metrics), _tiles(metrics)]
    if metrics.coco.faces:
        parts += [_curves(metrics), sections.sizes(metrics.coco)]
    parts.append(_thresholds(metrics, matches))
    if metrics.landmarks:
        parts.append(_landmarks(metrics.landmarks))
    parts += [
        sections.groups(metrics.groups),
        gallery.misses(misses, metrics.balanced.threshold),
        gallery.false_alarms(false_alarms),
        _closing(metrics),
    ]
    return sections.page(f"{metrics.subject.model}, evaluated", parts)


def _opening(metrics: Metrics) -> str:
    subject, whole = metrics.subject, metrics.coco
    long_side = f"at a long side of {subject.long_side} pixels" if subject.long_side else "at their original size"
    split = f", split {escape(subject.split)}" if subject.split else ""
    return f"""<h1>{escape(subject.model)}, evaluated</h1>
<p>On {whole.images:,} images of <code>{escape(subject.data)}</code>{split}, {long_side}, with {whole.faces:,}
labelled faces and {subject.ignored:,} boxes to be ignored.</p>"""


def _tiles(metrics: Metrics) -> str:
    intervals, tiles = metrics.intervals, []
    if metrics.wider:
        for name, level in metrics.wider.levels.items():
            tiles.append((f"WIDER {name}", share(level.ap), between(metrics.wider.intervals[name])))
    if metrics.coco.faces:
        tiles.append(("AP50", share(metrics.coco.ap50), between(intervals.ap50)))
        tiles.append(("AP .50 to .95", share(metrics.coco.ap), between(intervals.ap)))
        note = f"{between(intervals.quiet_recall)}, at one false alarm in ten images"
        tiles.append(("Recall", share(metrics.quiet.recall), note))
    if metrics.face_free:
        of = f"an image, on {metrics.face_free.images:,} without a face"
        note = f"{between(metrics.face_free.given_interval)}, {of}"
        tiles.append(("False alarms", share(metrics.face_free.given.false_alarms), note))
    if metrics.landmarks:
        low, high = metrics.landmarks.mean_interval.least, metrics.landmarks.mean_interval.most
        note = f"{percent(low)} to {percent(high)}, of the face's size"
        tiles.append(("Landmark error", percent(metrics.landmarks.mean), note))
    if metrics.milliseconds:
        total = sum(metrics.milliseconds.values())
        tiles.append(("Time", f"{total:.1f}<i>ms</i>", "an image, from file to faces, on one thread"))
    return f"""{sections.tiles(tiles)}
<p>“a to b”: there a figure lies in 95 of 100 samples of these images (bootstrap), and so it may on others that
are like them.</p>"""


def _curves(metrics: Metrics) -> str:
    first = _levels(metrics.wider) if metrics.wider else sections.fits(metrics.coco)
    title = "All faces, by how well a box must fit"
    if metrics.wider:
        title = f"WIDER FACE, {metrics.wider.images:,} of the {metrics.wider.official:,} official images"
    by_height = sections.precision_recall("By the height of the face, at IoU 0.5", sections.heights(metrics.coco))
    return f"""<h2>Precision and recall</h2>
<div class=side>{sections.precision_recall(title, first)}{by_height}</div>"""


def _levels(wider: WiderMetrics) -> list[Curve]:
    there = ((name, level, level.precision_1000 > 0) for name, level in wider.levels.items() if level.faces)
    return [Curve(name, level.ap, level.recall_1000[some], level.precision_1000[some]) for name, level, some in there]


def _thresholds(metrics: Metrics, matches: Matches) -> str:
    intervals = metrics.intervals
    rows = [
        _threshold("balanced", metrics.balanced, intervals.balanced_recall, intervals.balanced_false_alarms),
        _threshold("one false alarm in ten images", metrics.quiet, intervals.quiet_recall, None),
    ]
    if metrics.face_free:
        free = metrics.face_free
        on = f"on the {free.images:,} without a face"
        rows = rows if metrics.coco.faces else []
        rows.append(_threshold(f"balanced, {on}", free.given, None, free.given_interval))
        rows.append(_threshold(f"one in ten, {on}", free.allowed, None, None))
    columns = ["<td></td>", *sections.heads("threshold", "recall", "false alarms an image")]
    drawing = charts.histogram(
        matches.scores_D[matches.right_RTD[0, 0]], matches.scores_D[matches.wrong_RTD[0, 0]], metrics.balanced.threshold
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


def _landmarks(metrics: LandmarkError) -> str:
    rows = [
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{percent(value)}</td></tr>'
        for name, value in metrics.by_point.items()
    ]
    interval = f"{percent(metrics.mean_interval.least)} to {percent(metrics.mean_interval.most)}"
    return f"""<h2>Landmarks</h2>
<p>{metrics.faces:,} of {metrics.labelled:,} faces with labelled landmarks were found. There the points lie
{percent(metrics.mean)} of the face's size ({interval}) from their labels; on {percent(metrics.good)} of the faces
it is less than 10 %. The size is the square root of the labelled box's area.</p>
{sections.table("Landmarks", ["<td></td>", *sections.heads("mean error")], rows)}"""


def _closing(metrics: Metrics) -> str:
    subject = metrics.subject
    unreadable = ""
    if subject.unreadable:
        unreadable = f"<p>{len(subject.unreadable):,} images could not be read; their faces count as missed.</p>"
    stages = ", ".join(f"{stage} {value:.1f} ms" for stage, value in metrics.milliseconds.items())
    several = f", {subject.workers} at once" if subject.workers > 1 else ""
    return f"""<footer>{unreadable}<p>Scores from {subject.score_floor:g}, at most {subject.max_detections:,} boxes a
image. Time: {escape(stages or "none")}{several}.</p>
<p>Model <code>sha256 {escape(subject.sha256)}</code><br>Data <code>fingerprint {escape(subject.fingerprint)}</code></p>
</footer>"""
