"""Charts of a detector: precision-recall curves, a histogram of scores, and a reliability diagram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from markupsafe import Markup

from mlcycle.evaluation import coco
from mlcycle.evaluation.calibration import Calibration
from mlcycle.evaluation.coco import AveragePrecision
from mlcycle.evaluation.matches import Matches
from mlcycle.evaluation.sizes import BY_HEIGHT
from mlcycle.reporting.charts import axes
from mlcycle.reporting.charts.axes import INK, LARGE, MISS, SOFT, Axes, element, join

# Points drawn of a curve; more cannot be seen.
POINTS = 240
BINS = 40
# In drawing units: the least distance of two lines of text, and the width of the name of a mark.
LINE, NAME = 16, 130
TENTHS = [(step / 5, f"{step / 5:.1f}") for step in range(6)]


@dataclass(frozen=True, slots=True)
class Curve:
    """A precision-recall curve: its name, its average precision, and K points in 0 to 1."""

    name: str
    ap: float
    recall_K: np.ndarray
    precision_K: np.ndarray


@dataclass(frozen=True, slots=True)
class Mark:
    """A named point on a precision-recall curve."""

    name: str
    recall: float
    precision: float


def iou_curves(whole: AveragePrecision) -> list[Curve]:
    """Returns the curves of all faces at IoU 0.5 and 0.75."""
    return [
        _curve("IoU 0.50", whole.ap50, whole.precision_T101[0]),
        _curve("IoU 0.75", whole.ap75, whole.precision_T101[5]),
    ]


def height_curves(whole: AveragePrecision) -> list[Curve]:
    """Returns the curve at IoU 0.5 of each range of heights that has faces."""
    parts = ((size.name, whole.by_size.get(size.name)) for size in BY_HEIGHT)
    return [_curve(name, part.ap50, part.precision_T101[0]) for name, part in parts if part and part.faces]


def _curve(name: str, ap: float, precision_101: np.ndarray) -> Curve:
    reached = precision_101 > 0
    return Curve(name, ap, coco.RECALLS[reached], precision_101[reached])


def precision_recall(title: str, curves: Sequence[Curve], marks: Sequence[Mark] = ()) -> Markup:
    """Returns precision over recall, with a legend that gives the average precision of each curve."""
    named = [f"{each.name} {each.ap:.3f}" for each in curves]
    named += [f"{each.name}: recall {each.recall:.2f}, precision {each.precision:.2f}" for each in marks]
    chart = Axes(LARGE, (0, 1), (0, 1))
    drawing = chart.svg(
        f"{title}: {'; '.join(named)}",
        chart.y_axis(TENTHS, "precision"),
        chart.x_axis(TENTHS, "recall: share of the faces found"),
        *(chart.polyline(_points(each), number) for number, each in enumerate(curves) if len(each.recall_K)),
        _marks(chart, marks),
    )
    return drawing + axes.series_legend((each.name, f"{each.ap:.3f}") for each in curves)


def _points(curve: Curve) -> list[tuple[float, float]]:
    chosen = np.unique(np.linspace(0, len(curve.recall_K) - 1, POINTS).round().astype(int))
    return list(zip(curve.recall_K[chosen].tolist(), curve.precision_K[chosen].tolist(), strict=True))


def _marks(chart: Axes, marks: Sequence[Mark]) -> Markup:
    """Returns a ring for each mark. Names go below and to the left of the curve, where nothing is drawn, one under
    the other, and above and to the right only where the left is too narrow."""
    narrow = axes.LEFT + NAME
    places = sorted((chart.x.place(each.recall), chart.y.place(each.precision), each.name) for each in marks)
    left, right = [each for each in places if each[0] >= narrow], [each for each in places if each[0] < narrow]
    below = list(accumulate((y + LINE for _, y, _ in left), lambda above, own: max(above + LINE, own)))
    # Names stay above the axis.
    fitting = accumulate(reversed(below), lambda under, own: min(under - LINE, own), initial=chart.base + LINE / 2)
    below = list(fitting)[:0:-1]
    above = accumulate((y - LINE / 2 for _, y, _ in reversed(right)), lambda under, own: min(under - LINE, own))
    drawn = [_ring((x, y), -18, height, name) for (x, y, name), height in zip(left, below, strict=True)]
    drawn += [_ring((x, y), 18, height, name) for (x, y, name), height in zip(reversed(right), above, strict=True)]
    return join(drawn)


def _ring(place: tuple[float, float], offset: float, height: float, name: str) -> Markup:
    """Returns a ring, and its name at a height, shifted by `offset` to one side."""
    (x, y), left = place, offset < 0
    at = x + offset
    return join(
        [
            element("line", x1=x, y1=y, x2=at, y2=height - 4, stroke=SOFT),
            element("circle", cx=x, cy=y, r=4.5, fill="var(--card)", stroke=INK, stroke_width=2),
            element("text", name, x=at + (-3 if left else 3), y=height, text_anchor="end" if left else "start"),
        ]
    )


def score_histogram(matches: Matches, threshold: float) -> Markup:
    """Returns how many hits (up) and false alarms (down) have each score at IoU 0.5, on a logarithmic scale."""
    hits_D, alarms_D = (matches.scores_D[each[0, 0]] for each in (matches.right_RTD, matches.wrong_RTD))
    counts_2B = [np.histogram(scores, BINS, (0.0, 1.0))[0] for scores in (hits_D, alarms_D)]
    top = max(1, math.ceil(math.log10(1 + max(counts_B.max() for counts_B in counts_2B))))
    chart = Axes(LARGE, (0, 1), (-top, top))
    bars = [
        _bar(chart, place, sign * math.log10(1 + count), fill)
        for counts_B, sign, fill in zip(counts_2B, (1, -1), (axes.colour(0), MISS), strict=True)
        for place, count in enumerate(counts_B.tolist())
        if count
    ]
    name = element("text", f"balanced {threshold:.2f}", x=chart.x.place(threshold) + 5, y=axes.TOP + 11)
    drawing = chart.svg(
        f"Scores of {len(hits_D):,} hits and {len(alarms_D):,} false alarms",
        chart.y_axis(_powers(top)),
        *bars,
        chart.x_axis(TENTHS, "score"),
        chart.vertical(threshold, f"balanced {threshold:.3f}", stroke=INK, stroke_dasharray="4 3"),
        name,
    )
    hits, alarms = f"up: {len(hits_D):,} hits", f"down: {len(alarms_D):,} false alarms"
    return drawing + axes.legend([(axes.swatch(axes.colour(0)), hits, ""), (axes.swatch(MISS), alarms, "")])


def _bar(chart: Axes, place: int, value: float, fill: str) -> Markup:
    y, middle = chart.y.place(value), chart.y.place(0)
    left, right = chart.x.place(place / BINS), chart.x.place((place + 1) / BINS)
    return element("rect", x=left, y=min(y, middle), width=right - left - 1, height=abs(middle - y), fill=fill)


def _powers(top: int) -> list[tuple[float, str]]:
    """Returns ticks at counts of 0, 10, 100 … on both sides; a bar of n has the height of log(1 + n)."""
    counts = [10**power for power in range(1, top + 1)]
    places = [(math.log10(1 + count), axes.tick_label(count)) for count in counts]
    both = [(sign * height, label) for height, label in places for sign in (1, -1) if height <= top + 0.01]
    return [(0.0, "0"), *both]


def reliability_diagram(calibration: Calibration) -> Markup:
    """Returns the share of right detections over their score with 95 % intervals, and the diagonal of a calibrated
    detector."""
    chart, blue = Axes(LARGE, (0, 1), (0, 1)), axes.colour(0)
    diagonal = {"stroke": SOFT, "stroke_width": 2, "stroke_dasharray": "5 4"}
    (x1, y1), (x2, y2) = ((chart.x.place(each), chart.y.place(each)) for each in (0, 1))
    points = [(each.score, each.share) for each in calibration.bins]
    titles = [
        f"score {each.least:.1f} to {each.most:.1f}: {each.right:,} of {each.detections:,} right"
        for each in calibration.bins
    ]
    intervals = [
        element("line", x1=x, x2=x, y1=chart.y.place(low), y2=chart.y.place(high), stroke=blue, stroke_width=2)
        for x, (low, high) in ((chart.x.place(each.score), each.interval()) for each in calibration.bins)
    ]
    drawing = chart.svg(
        f"Share of right detections over their score; expected calibration error {calibration.error:.3f}",
        chart.y_axis(TENTHS, "share that is right"),
        chart.x_axis(TENTHS, "score"),
        element("line", x1=x1, y1=y1, x2=x2, y2=y2, **diagonal),
        *intervals,
        chart.polyline(points),
        chart.dots(points, titles, radius=4.5, fill=blue),
    )
    measured, perfect = "measured, with its 95 % interval", "calibrated"
    return drawing + axes.legend([(axes.swatch(blue), measured, ""), (axes.line_sample(**diagonal), perfect, "")])
