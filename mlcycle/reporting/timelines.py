"""Figures over the steps of a training, as SVG with readable axes; colours are the page's (`--c0` to `--c5`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 12, 42
# About how wide a digit is.
LETTER = 8
# Points drawn of a line, each the mean of its neighbours; more cannot be seen.
POINTS = 160
COLOURS = 6
# Told apart without colour as well.
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4")
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name, and step and value of each point, by step."""

    name: str
    points: Points


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale's ends in its own values, where they lie in the drawing, and whether it is logarithmic."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.is_log else (self.low, self.high)
        value = math.log10(max(value, self.low)) if self.is_log else value
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Returns round values, four or so."""
        if not self.is_log:
            return _round_values(self.low, self.high)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        several = (1,) if len(powers) > 4 else (1, 2, 5) if len(powers) < 4 else (1, 3)
        values = [digit * 10.0**power for power in powers for digit in several]
        values = [value for value in values if self.low <= value * (1 + 1e-9) and value <= self.high * (1 + 1e-9)]
        return values if len(values) > 2 else _round_values(self.low, self.high)


def over_steps(
    title: str,
    series: Sequence[Series],
    *,
    is_log: bool = False,
    is_share: bool = False,
    from_zero: bool = True,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Returns lines over steps with a legend that names each and its last value; nothing without a point.

    Args:
        title: what is drawn, said to those who do not see it.
        is_log: the values are drawn on a logarithmic scale, if all are above 0.
        is_share: they are told in percent.
        from_zero: the scale begins at 0, or else a little below the lowest value.
        marks: steps at which something happened, and what.
    """
    series = [each for each in series if each.points]
    if not series:
        return ""
    values = [value for each in series for _, value in each.points]
    across = Scale(0, max(step for each in series for step, _ in each.points) or 1, LEFT, WIDTH - RIGHT)
    up = upward(values, is_log, from_zero)
    said = "; ".join(f"{each.name} at the end {_told(each.points[-1][1], is_share)}" for each in series)
    body = _axes(across, up, is_share) + "".join(_mark(across, *mark) for mark in marks)
    body += "".join(_line(number, each, across, up) for number, each in enumerate(series))
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}: {said}", quote=True)}">'
        f"{body}</svg>"
    )
    entries = (
        f"<li>{sample(number)}{escape(each.name)} <b>{_told(each.points[-1][1], is_share)}</b></li>"
        for number, each in enumerate(series)
    )
    return f"{svg}<ul class=legend>{''.join(entries)}</ul>"


def upward(values: Sequence[float], is_log: bool, from_zero: bool) -> Scale:
    """Returns a scale from the bottom of a drawing to its top that holds all values."""
    low, high = min(values), max(values)
    if is_log and low > 0 and high > low:
        return Scale(low * 0.9, high * 1.1, HEIGHT - BOTTOM, TOP, is_log=True)
    if from_zero or high == low:
        low, high = min(0.0, low), max(high, 0.0)
    margin = (high - low) * 0.06 or 0.5
    return Scale(low - margin if low else low, high + margin, HEIGHT - BOTTOM, TOP)


def levels(up: Scale, is_share: bool = False) -> str:
    """Returns the lines of a scale's round values, with their names, and the line that the drawing stands on."""
    rows = []
    for value in up.ticks():
        y = up.place(value)
        rows.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--rule)"/>')
        rows.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_tick(value, is_share)}</text>')
    base = HEIGHT - BOTTOM
    rows.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}" stroke="var(--soft)"/>')
    return "".join(rows)


def _axes(across: Scale, up: Scale, is_share: bool) -> str:
    rows, base = [levels(up, is_share)], HEIGHT - BOTTOM
    for value in across.ticks():
        x = across.place(value)
        rows.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}" stroke="var(--soft)"/>')
        text = _step(value, across.high)
        # Near the border a number under its mark would be cut off.
        at = min(x, WIDTH - len(text) * LETTER / 2)
        rows.append(f'<text x="{at:.1f}" y="{base + 19}" text-anchor="middle">{text}</text>')
    rows.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">step</text>')
    return "".join(rows)


def _mark(across: Scale, step: float, said: str) -> str:
    x = across.place(min(step, across.high))
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="var(--soft)" '
        f'stroke-dasharray="2 4"><title>{escape(said)}</title></line>'
    )


def _line(number: int, series: Series, across: Scale, up: Scale) -> str:
    thinned = thin(series.points)
    points = " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in thinned)
    colour = f"var(--c{number % COLOURS})"
    dots = ""
    if len(thinned) <= 40:
        dots = "".join(
            f'<circle cx="{across.place(x):.1f}" cy="{up.place(y):.1f}" r="2.6" fill="{colour}">'
            f"<title>{escape(series.name)} at step {x:,.0f}: {y:.4g}</title></circle>"
            for x, y in thinned
        )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash(number)}/>{dots}'


def thin(points: Points) -> list[tuple[float, float]]:
    """Returns at most POINTS points, each the mean of as many neighbours; the last step stays."""
    if len(points) <= POINTS:
        return list(points)
    ends = [len(points) * place // POINTS for place in range(POINTS + 1)]
    pieces = [points[first:last] for first, last in pairwise(ends)]
    means = [(sum(x for x, _ in piece) / len(piece), sum(y for _, y in piece) / len(piece)) for piece in pieces]
    return [*means[:-1], (points[-1][0], means[-1][1])]


def sample(number: int) -> str:
    """Returns a piece of a line, for a legend."""
    return (
        f'<svg class=sample viewBox="0 0 30 8" aria-hidden="true"><line x1="0" x2="30" y1="4" y2="4" '
        f'stroke="var(--c{number % COLOURS})" stroke-width="3"{dash(number)}/></svg>'
    )


def dash(number: int) -> str:
    """Returns the attribute that dashes a line, so that it is told from others without colour as well."""
    pattern = DASHES[number % len(DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def _round_values(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _step(value: float, highest: float) -> str:
    return f"{value / 1000:g}k" if highest >= 10_000 and value else f"{value:,g}"


def _tick(value: float, is_share: bool = False) -> str:
    if is_share:
        return f"{value * 100:.3g} %"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _told(value: float, is_share: bool = False) -> str:
    return f"{value * 100:.1f} %" if is_share else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
