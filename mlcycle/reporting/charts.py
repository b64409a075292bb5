"""Curves and bars as SVG, for the page of an evaluation; colours are the page's (`--c0` to `--c3`, `--miss`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mlcycle.evaluation.calibration import Calibration

WIDTH, HEIGHT = 480, 360
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 44
# Points drawn of a curve; more cannot be seen.
POINTS = 240
# Told apart without colour as well.
DASHES = ("", "7 3", "2 3", "9 3 2 3")
BINS = 40
# The least distance between two lines of text, in the drawing's own units as all of these.
LINE = 16
# The width of the name of a mark.
ROOM = 130


@dataclass(frozen=True, slots=True)
class Curve:
    """A precision-recall curve: its name, the figure said beside it, and K points of each, in 0 to 1."""

    name: str
    figure: float
    recall_K: np.ndarray
    precision_K: np.ndarray


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with a name, on a precision-recall curve."""

    name: str
    recall: float
    precision: float


def precision_recall(curves: Sequence[Curve], title: str, marks: Sequence[Mark] = ()) -> str:
    """Returns up to four curves over one pair of axes, with a legend that names each and its figure."""
    said = "; ".join(f"{each.name} {each.figure:.3f}" for each in curves)
    said += "".join(f"; {each.name}: recall {each.recall:.2f}, precision {each.precision:.2f}" for each in marks)
    lines = "".join(_line(number, curve) for number, curve in enumerate(curves)) + _marks(marks)
    axes = _grid() + _words("recall: share of the faces found", "precision")
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}: {said}", quote=True)}">'
        f"{axes}{lines}</svg>"
    )
    return f"{svg}<ul class=legend>{''.join(_entry(number, curve) for number, curve in enumerate(curves))}</ul>"


def histogram(hits_D: np.ndarray, false_alarms_D: np.ndarray, threshold: float) -> str:
    """Returns how many hits (up) and false alarms (down) have which score, on a logarithmic scale, and a threshold."""
    up_B, down_B = (np.histogram(scores, BINS, (0.0, 1.0))[0] for scores in (hits_D, false_alarms_D))
    top = max(1, math.ceil(math.log10(1 + max(up_B.max(), down_B.max()))))
    half = (HEIGHT - TOP - BOTTOM) / 2
    middle = TOP + half
    width = (WIDTH - LEFT - RIGHT) / BINS

    def bar(place: int, number: int, side: int, colour: str) -> str:
        height = math.log10(1 + number) / top * half
        x, y = LEFT + place * width, middle - height if side > 0 else middle
        return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}" fill="var({colour})"/>'

    bars = "".join(bar(place, number, 1, "--c0") for place, number in enumerate(up_B.tolist()) if number)
    bars += "".join(bar(place, number, -1, "--miss") for place, number in enumerate(down_B.tolist()) if number)
    at = LEFT + threshold * (WIDTH - LEFT - RIGHT)
    mark = (
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="var(--ink)" '
        f'stroke-dasharray="4 3"/><text x="{at + 5:.1f}" y="{TOP + 11}">balanced {threshold:.2f}</text>'
    )
    label = f"Scores of {len(hits_D):,} hits and {len(false_alarms_D):,} false alarms"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{_powers(top, middle, half)}{bars}{_across()}{mark}{_words('score', '')}</svg>"
        f'<ul class=legend><li><i style="background:var(--c0)"></i>up: {len(hits_D):,} hits</li>'
        f'<li><i style="background:var(--miss)"></i>down: {len(false_alarms_D):,} false alarms</li></ul>'
    )


def reliability(calibration: Calibration) -> str:
    """Returns the share of right detections over their score, with intervals, beside what it should be: the diagonal.

    Detections are few at some scores, and so a share may be far off by chance; the interval says how far.
    """
    (x1, y1), (x2, y2) = _place(0, 0), _place(1, 1)
    diagonal = 'stroke="var(--soft)" stroke-width="1.6" stroke-dasharray="5 4"'
    drawn = [f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {diagonal}/>']
    for each in calibration.bins:
        (x, y), (low, high) = _place(each.score, each.share), each.interval()
        said = f"score {each.least:.1f} to {each.most:.1f}: {each.right:,} of {each.detections:,} right"
        drawn.append(
            f"<g><title>{said}</title>"
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_place(0, low)[1]:.1f}" y2="{_place(0, high)[1]:.1f}" '
            f'stroke="var(--c0)" stroke-width="1.6"/><circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="var(--c0)"/></g>'
        )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(each.score, each.share) for each in calibration.bins))
    drawn.append(f'<polyline points="{path}" fill="none" stroke="var(--c0)" stroke-width="2"/>')
    label = f"Share of right detections over their score; expected calibration error {calibration.error:.3f}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{_grid()}{_words('score', 'share of them that is right')}{''.join(drawn)}</svg>"
        '<ul class=legend><li><i style="background:var(--c0)"></i>measured, with its 95 % interval</li>'
        f'<li><svg class=sample viewBox="0 0 30 8" aria-hidden="true"><line x1="0" x2="30" y1="4" y2="4" '
        f"{diagonal}/></svg>"
        "as many as the score says</li></ul>"
    )


def _marks(marks: Sequence[Mark]) -> str:
    """Rings on the curve. Their names stand below and left of it, where nothing is drawn, one under the other; above
    and right of it where there is no room for words."""
    drawn, lowest, highest = [], 0.0, float(HEIGHT)
    places = sorted((*_place(each.recall, each.precision), each.name) for each in marks)
    for x, y, name in places:
        if x >= LEFT + ROOM:
            lowest = max(lowest + LINE, y + LINE)
            drawn.append(_ring(x, y, -18, lowest, name))
    for x, y, name in reversed(places):
        if x < LEFT + ROOM:
            highest = min(highest - LINE, y - LINE / 2)
            drawn.append(_ring(x, y, 18, highest, name))
    return "".join(drawn)


def _ring(x: float, y: float, aside: float, height: float, name: str) -> str:
    """A ring, and its name on this height, on the side of `aside`."""
    anchor, beside = ("end", -3) if aside < 0 else ("start", 3)
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x + aside:.1f}" y2="{height - 4:.1f}" stroke="var(--soft)"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="var(--card)" stroke="var(--ink)" stroke-width="2"/>'
        f'<text x="{x + aside + beside:.1f}" y="{height:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
    )


def _line(number: int, curve: Curve) -> str:
    if not len(curve.recall_K):
        return ""
    chosen = np.unique(np.linspace(0, len(curve.recall_K) - 1, POINTS).round().astype(int))
    points = " ".join(
        f"{x:.1f},{y:.1f}" for x, y in map(_place, curve.recall_K[chosen].tolist(), curve.precision_K[chosen].tolist())
    )
    dash = f' stroke-dasharray="{DASHES[number]}"' if DASHES[number] else ""
    return f'<polyline points="{points}" fill="none" stroke="var(--c{number})" stroke-width="2.2"{dash}/>'


def _entry(number: int, curve: Curve) -> str:
    dash = f' stroke-dasharray="{DASHES[number]}"' if DASHES[number] else ""
    sample = (
        f'<svg class=sample viewBox="0 0 30 8"><line x1="0" x2="30" y1="4" y2="4" stroke="var(--c{number})" '
        f'stroke-width="3"{dash}/></svg>'
    )
    return f"<li>{sample}{escape(curve.name)} <b>{curve.figure:.3f}</b></li>"


def _place(x: float, y: float) -> tuple[float, float]:
    """Of a point in 0 to 1, in the drawing's own units."""
    return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)


def _grid() -> str:
    rows = []
    for step in range(6):
        value = step / 5
        _, y = _place(0, value)
        rows.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--rule)"/>')
        rows.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    return "".join(rows) + _across()


def _across() -> str:
    places = [(step / 5, _place(step / 5, 0)[0]) for step in range(6)]
    return "".join(
        f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{value:.1f}</text>' for value, x in places
    )


def _powers(top: int, middle: float, half: float) -> str:
    """The lines of 0, 10, 100 … on both sides of the middle; a bar of n has the height of log(1 + n)."""
    rows = []
    for power in range(top + 1):
        number = 10**power if power else 0
        for side in (1, -1) if power else (1,):
            y = middle - side * math.log10(1 + number) / top * half
            if TOP - 1 <= y <= HEIGHT - BOTTOM + 1:
                rows.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--rule)"/>')
                rows.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(number)}</text>')
    return "".join(rows)


def _short(number: int) -> str:
    return str(number) if number < 1000 else f"{number // 1000}k" if number < 1_000_000 else f"{number // 1_000_000}M"


def _words(across: str, up: str) -> str:
    x, y = LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + (HEIGHT - TOP - BOTTOM) / 2
    words = f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{across}</text>'
    return words + (f'<text transform="translate(12 {y}) rotate(-90)" text-anchor="middle">{up}</text>' if up else "")
