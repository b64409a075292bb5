"""The part of a run's report that is about the held-out images: what the best checkpoint finds there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.calibration import Calibration
from mlcycle.evaluation.coco import AveragePrecision
from mlcycle.evaluation.groups import GroupPrecision
from mlcycle.evaluation.matches import Matches
from mlcycle.reporting import charts, gallery, sections
from mlcycle.reporting.charts import Mark
from mlcycle.reporting.gallery import Thumbnail


@dataclass(frozen=True, slots=True)
class Validation:
    """The answers of the best checkpoint, counted.

    Attributes:
        step: that the checkpoint is of.
        matches: what comparing its boxes with the labels gave.
        whole: average precision, and by size.
        intervals: 95 % intervals of AP50 and AP over samples of the images.
        threshold: the balanced one.
        points: name of an operating point → its rule, recall, precision and false alarms an image; empty where no
            face is found at any threshold.
        thresholds: name → least score of a face there.
        groups: figures by group, hardest first.
        misses, false_alarms: the worst ones as images; `has_thumbnails` says whether images were wanted.
    """

    step: int
    matches: Matches
    whole: AveragePrecision
    intervals: tuple[Interval, Interval]
    threshold: float
    points: dict[str, dict[str, Any]]
    thresholds: dict[str, float]
    calibration: Calibration
    groups: Sequence[GroupPrecision]
    misses: Sequence[Thumbnail]
    false_alarms: Sequence[Thumbnail]
    has_thumbnails: bool


def render(seen: Validation) -> list[str]:
    """Returns the sections as HTML."""
    return [
        _precision_and_recall(seen),
        _thresholds(seen),
        sections.sizes(seen.whole),
        sections.groups(seen.groups),
        gallery.misses(seen.misses, seen.threshold),
        gallery.false_alarms(seen.false_alarms),
    ]


def _precision_and_recall(seen: Validation) -> str:
    marks = [
        Mark(f"{name} {seen.thresholds[name]:.2f}", point["recall"], point["precision"])
        for name, point in seen.points.items()
        if point["recall"] is not None and point["precision"] is not None
    ]
    whole = sections.precision_recall("All faces, by how well a box must fit", sections.fits(seen.whole), marks)
    by_height = sections.precision_recall("By the height of the face, at IoU 0.5", sections.heights(seen.whole))
    return f"""<h2>Precision and recall</h2>
<p>On the {seen.whole.images:,} held-out images, with {seen.whole.faces:,} labelled faces, by the checkpoint
of step {seen.step:,}. The rings are the operating points that <code>mlcycle freeze</code> would choose now, with their
thresholds.</p>
<div class=side>{whole}{by_height}</div>"""


def _thresholds(seen: Validation) -> str:
    matches = seen.matches
    histogram = charts.histogram(
        matches.scores_D[matches.right_RTD[0, 0]], matches.scores_D[matches.wrong_RTD[0, 0]], seen.threshold
    )
    return f"""<h2>Scores and thresholds</h2>
{_points(seen)}
<div class=side>{sections.card("Scores of hits and false alarms, at IoU 0.5", histogram)}
{sections.card("Are scores what they seem?", _reliability(seen.calibration))}</div>"""


def _reliability(calibration: Calibration) -> str:
    if not calibration.bins:
        return "<p>Nothing was found, so there is no score to judge.</p>"
    columns = ["<th>score</th>", *sections.heads("boxes", "right", "share", "mean score")]
    rows = [
        f'<tr><th scope="row">{each.least:.1f} to {each.most:.1f}</th><td>{each.detections:,}</td>'
        f"<td>{each.right:,}</td><td>{each.share:.3f}</td><td>{each.score:.3f}</td></tr>"
        for each in calibration.bins
    ]
    return f"""{charts.reliability(calibration)}
<p>Expected calibration error {calibration.error:.3f}. The network learns to score a box by how well it fits, not by the
odds that it fits at IoU 0.5, so a curve beside the diagonal is no fault; one that does not rise is.</p>
<details><summary>as a table</summary>{sections.table("Share of right boxes by score", columns, rows)}</details>"""


def _points(seen: Validation) -> str:
    if not seen.points:
        return "<p>No face is found at any threshold, so that none can be chosen.</p>"
    columns = ["<td></td>", *sections.heads("threshold", "recall", "precision", "alarms an image")]
    columns += ['<th class="wide text">rule</th>']
    rows = [_point(name, seen.thresholds[name], point) for name, point in seen.points.items()]
    return sections.table("Operating points", columns, rows)


def _point(name: str, threshold: float, point: dict[str, Any]) -> str:
    figures = (point["recall"], point["precision"], point["false_alarms_a_photograph"])
    cells = "".join(f"<td>{'–' if value is None else f'{value:.3f}'}</td>" for value in figures)
    rule = '<td class="wide text">' + escape(point["rule"]) + "</td>"
    return f'<tr><th scope="row">{escape(name)}</th><td>{threshold:.3f}</td>{cells}{rule}</tr>'
