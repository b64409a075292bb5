"""The page of an evaluation: figures, curves, and the worst mistakes as pictures, in one file that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from importlib import resources

import numpy as np

from mlcycle.evaluation import charts, coco, gallery
from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.charts import Curve
from mlcycle.evaluation.coco import AveragePrecision
from mlcycle.evaluation.figures import Figures, WiderFigures
from mlcycle.evaluation.gallery import Picture
from mlcycle.evaluation.groups import GroupPrecision
from mlcycle.evaluation.landmarks import LandmarkError
from mlcycle.evaluation.matches import Matches
from mlcycle.evaluation.operating import OperatingPoint
from mlcycle.evaluation.sizes import BY_HEIGHT

# Groups shown at once; the rest unfolds.
GROUPS = 12

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{sections}
</main>
</body>
</html>
"""


def render(figures: Figures, matches: Matches, misses: Sequence[Picture], false_alarms: Sequence[Picture]) -> str:
    """Returns the page as HTML.

    Args:
        matches: what the figures were counted from.
        misses: the largest faces that were not found.
        false_alarms: the highest-scored detections of nothing.
    """
    sections = [_opening(figures), _tiles(figures)]
    if figures.coco.faces:
        sections += [_curves(figures), _sizes(figures)]
    sections.append(_thresholds(figures, matches))
    if figures.landmarks:
        sections.append(_landmarks(figures.landmarks))
    if figures.groups:
        sections.append(_groups(figures.groups))
    sections += [gallery.misses(misses, figures.balanced.threshold), gallery.false_alarms(false_alarms)]
    sections.append(_closing(figures))
    style = resources.files("mlcycle.evaluation").joinpath("page.css").read_text("utf-8")
    return PAGE.format(title=escape(f"{figures.subject.model}, evaluated"), style=style, sections="\n".join(sections))


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
            tiles.append((f"WIDER {name}", _share(level.ap), _range(figures.wider.intervals[name])))
    if figures.coco.faces:
        tiles.append(("AP50", _share(figures.coco.ap50), _range(intervals.ap50)))
        tiles.append(("AP .50 to .95", _share(figures.coco.ap), _range(intervals.ap)))
        note = f"{_range(intervals.quiet_recall)}, at one false alarm in ten photographs"
        tiles.append(("Recall", _share(figures.quiet.recall), note))
    if figures.face_free:
        of = f"a photograph, on {figures.face_free.photographs:,} without a face"
        note = f"{_range(figures.face_free.given_interval)}, {of}"
        tiles.append(("False alarms", _share(figures.face_free.given.false_alarms), note))
    if figures.landmarks:
        low, high = figures.landmarks.mean_interval.least, figures.landmarks.mean_interval.most
        note = f"{_percent(low)} to {_percent(high)}, of the face's size"
        tiles.append(("Landmark error", _percent(figures.landmarks.mean), note))
    if figures.milliseconds:
        total = sum(figures.milliseconds.values())
        tiles.append(("Time", f"{total:.1f}<i>ms</i>", "a photograph, from file to faces, on one thread"))
    cells = (
        f"<div class=tile><span>{escape(name)}</span><b>{value}</b><small>{escape(note)}</small></div>"
        for name, value, note in tiles
    )
    return f"""<div class=tiles>{"".join(cells)}</div>
<p>“a to b”: there a figure lies in 95 of 100 samples of these photographs (bootstrap), and so it may on others that
are like them.</p>"""


def _curves(figures: Figures) -> str:
    first = _levels(figures.wider) if figures.wider else _fits(figures.coco)
    title = "All faces, by how well a box must fit"
    if figures.wider:
        title = f"WIDER FACE, {figures.wider.photographs:,} of the {figures.wider.official:,} official photographs"
    parts = ((size.name, figures.coco.by_size.get(size.name)) for size in BY_HEIGHT)
    heights = [_curve(name, part.ap50, part.precision_T101[0]) for name, part in parts if part and part.faces]
    return f"""<h2>Precision and recall</h2>
<div class=side>{_chart(title, first)}{_chart("By the height of the face, at IoU 0.5", heights)}</div>"""


def _levels(wider: WiderFigures) -> list[Curve]:
    there = ((name, level, level.precision_1000 > 0) for name, level in wider.levels.items() if level.faces)
    return [Curve(name, level.ap, level.recall_1000[some], level.precision_1000[some]) for name, level, some in there]


def _fits(whole: AveragePrecision) -> list[Curve]:
    return [
        _curve("IoU 0.50", whole.ap50, whole.precision_T101[0]),
        _curve("IoU 0.75", whole.ap75, whole.precision_T101[5]),
    ]


def _curve(name: str, figure: float, precision_101: np.ndarray) -> Curve:
    reached = precision_101 > 0
    return Curve(name, figure, coco.RECALLS[reached], precision_101[reached])


def _chart(title: str, curves: Sequence[Curve]) -> str:
    return f"<div class=card><h3>{escape(title)}</h3>{charts.precision_recall(curves, title)}</div>"


def _sizes(figures: Figures) -> str:
    whole = figures.coco
    rows = [("all", whole.ap, whole.ap50, whole.ap75, whole.faces)]
    rows += [(name, part.ap, part.ap50, part.ap75, part.faces) for name, part in whole.by_size.items()]
    lines = (
        f'<tr><th scope="row">{escape(name)}</th><td>{_share(ap)}</td><td>{_share(ap50)}</td><td>{_share(ap75)}</td>'
        f"<td>{faces:,}</td></tr>"
        for name, ap, ap50, ap75, faces in rows
    )
    head = "<tr><th></th><th>AP</th><th>AP50</th><th>AP75</th><th>faces</th></tr>"
    return f"""<h2>By size of the face</h2>
<p>COCO's average precision. Small, medium and large part at 32² and 96² square pixels; heights are those of the labels,
in pixels of the file.</p>
<div class=scroll><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>"""


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
    head = "<tr><th></th><th>threshold</th><th>recall</th><th>false alarms a photograph</th></tr>"
    drawing = charts.histogram(
        matches.scores_D[matches.right_RTD[0, 0]], matches.scores_D[matches.wrong_RTD[0, 0]], figures.balanced.threshold
    )
    return f"""<h2>At a threshold</h2>
<div class=side><div class=card><h3>Scores of hits and false alarms, at IoU 0.5</h3>{drawing}</div>
<div class=scroll><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div></div>"""


def _threshold(name: str, point: OperatingPoint, recall: Interval | None, alarms: Interval | None) -> str:
    threshold = f"{point.threshold:.3f}" if math.isfinite(point.threshold) else "none"
    cells = f"<td>{threshold}</td><td>{_with(point.recall, recall)}</td><td>{_with(point.false_alarms, alarms)}</td>"
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _with(value: float, interval: Interval | None) -> str:
    if interval is None:
        return _share(value)
    # Shorter than elsewhere, for the narrow columns of a phone.
    return f"{_share(value)} <small>{_share(interval.least)}–{_share(interval.most)}</small>"


def _landmarks(figures: LandmarkError) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{_percent(value)}</td></tr>'
        for name, value in figures.by_point.items()
    )
    interval = f"{_percent(figures.mean_interval.least)} to {_percent(figures.mean_interval.most)}"
    return f"""<h2>Landmarks</h2>
<p>{figures.faces:,} of {figures.labelled:,} faces with labelled landmarks were found. There the points lie
{_percent(figures.mean)} of the face's size ({interval}) from their labels; on {_percent(figures.good)} of the faces
it is less than 10 %. The size is the square root of the labelled box's area.</p>
<div class=scroll><table><thead><tr><th></th><th>mean error</th></tr></thead><tbody>{rows}</tbody></table></div>"""


def _groups(groups: Sequence[GroupPrecision]) -> str:
    columns = "<th></th><th>AP50</th><th class=wide></th><th class=wide>AP</th>"
    columns += "<th>recall</th><th>faces</th><th>photos</th>"

    def table(some: Sequence[GroupPrecision]) -> str:
        rows = "".join(_group(each) for each in some)
        return f"<div class=scroll><table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table></div>"

    rest = ""
    if groups[GROUPS:]:
        rest = f"<details><summary>the other {len(groups) - GROUPS}</summary>{table(groups[GROUPS:])}</details>"
    return f"""<h2>By group</h2>
<p>What the set files its photographs under (in WIDER FACE the event), hardest first. Recall is at the balanced
threshold. A group of few photographs says little.</p>
{table(groups[:GROUPS])}{rest}"""


def _group(group: GroupPrecision) -> str:
    share = 0 if math.isnan(group.ap50) else group.ap50 * 100
    return (
        f'<tr><th scope="row">{escape(group.name.replace("_", " "))}</th><td>{_share(group.ap50)}</td>'
        f'<td class="bar wide"><i style="width:{share:.1f}%"></i></td>'
        f"<td class=wide>{_share(group.ap)}</td><td>{_share(group.recall)}</td><td>{group.faces:,}</td>"
        f"<td>{group.photographs:,}</td></tr>"
    )


def _closing(figures: Figures) -> str:
    subject = figures.subject
    unreadable = ""
    if subject.unreadable:
        unreadable = f"<p>{len(subject.unreadable):,} photographs could not be read; their faces count as missed.</p>"
    stages = ", ".join(f"{stage} {value:.1f} ms" for stage, value in figures.milliseconds.items())
    several = f", {subject.processes} processes at once" if subject.processes > 1 else ""
    return f"""<footer>{unreadable}<p>Scores from {subject.score_floor:g}, at most {subject.max_detections:,} boxes a
photograph. Time: {escape(stages or "none")}{several}.</p>
<p>Model <code>sha256 {escape(subject.sha256)}</code><br>Data <code>fingerprint {escape(subject.fingerprint)}</code></p>
</footer>"""


def _share(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _range(interval: Interval) -> str:
    return "–" if math.isnan(interval.least) else f"{interval.least:.3f} to {interval.most:.3f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value * 100:.1f} %"
