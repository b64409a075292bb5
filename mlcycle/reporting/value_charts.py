"""Figures over values that were tried, as SVG: a place for each value, dots, and a line through the means."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mlcycle.reporting import timelines
from mlcycle.reporting.timelines import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Scale

# Names of values that fit side by side, and the characters of one.
NAMES, CHARACTERS = 7, 12


@dataclass(frozen=True, slots=True)
class Tried:
    """A line: its name, and for each value the figures that were got with it, none of them or several."""

    name: str
    metrics: Sequence[Sequence[float]]


def over_values(title: str, values: Sequence[str], lines: Sequence[Tried]) -> str:
    """Returns dots over values, and a line through the mean at each; nothing without a figure.

    Values lie evenly, in the order given, whatever they are; a legend names the lines where there are several.
    """
    lines = [line for line in lines if any(line.metrics)]
    metrics = [figure for line in lines for group in line.metrics for figure in group]
    if not metrics:
        return ""
    across = Scale(-0.5, len(values) - 0.5, LEFT, WIDTH - RIGHT)
    up = timelines.upward(metrics, is_log=False, from_zero=False)
    body = timelines.levels(up) + _names(values, across)
    body += "".join(_line(number, line, values, (across, up)) for number, line in enumerate(lines))
    said = "; ".join(
        f"{line.name}: " + ", ".join(f"{value} {statistics.fmean(group):.3f}" for value, group in _there(values, line))
        for line in lines
    )
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}: {said}", quote=True)}">'
        f"{body}</svg>"
    )
    entries = (f"<li>{timelines.sample(number)}{escape(line.name)}</li>" for number, line in enumerate(lines))
    return f"{svg}<ul class=legend>{''.join(entries)}</ul>" if len(lines) > 1 else svg


def _there(values: Sequence[str], line: Tried) -> list[tuple[str, Sequence[float]]]:
    return [(value, group) for value, group in zip(values, line.metrics, strict=True) if group]


def _names(values: Sequence[str], across: Scale) -> str:
    base, each = HEIGHT - BOTTOM, -(-len(values) // NAMES)
    parts = []
    for place, value in enumerate(values):
        x = across.place(place)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}" stroke="var(--soft)"/>')
        if place % each == 0:
            short = value if len(value) <= CHARACTERS else f"{value[: CHARACTERS - 1]}…"
            parts.append(f'<text x="{x:.1f}" y="{base + 19}" text-anchor="middle">{escape(short)}</text>')
    return "".join(parts)


def _line(number: int, line: Tried, values: Sequence[str], scales: tuple[Scale, Scale]) -> str:
    across, up = scales
    colour = f"var(--c{number % timelines.COLOURS})"
    means, dots = [], []
    for place, (value, group) in enumerate(zip(values, line.metrics, strict=True)):
        x = across.place(place)
        means += [f"{x:.1f},{up.place(statistics.fmean(group)):.1f}"] if group else []
        dots += [
            f'<circle cx="{x:.1f}" cy="{up.place(figure):.1f}" r="3.2" fill="{colour}" fill-opacity=".75">'
            f"<title>{escape(f'{line.name}, {value}: {figure:.4f}')}</title></circle>"
            for figure in group
        ]
    dash = timelines.dash(number)
    return f'<polyline points="{" ".join(means)}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>{"".join(dots)}'
