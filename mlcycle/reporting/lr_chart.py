"""Losses over learning rates, as SVG: a dot for each step, a line through their means, and marks with names."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mlcycle.reporting import timelines
from mlcycle.reporting.timelines import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale

# What lies higher above the first loss than this share of the fall to the lowest is drawn at the upper border: a loss
# that diverges would press all else flat.
ABOVE = 0.35


def over_rates(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], marks: Sequence[tuple[float, str]]
) -> str:
    """Returns the drawing; rates on a logarithmic scale, losses cut off where they diverge.

    Args:
        marks: rates that mean something, and their names.
    """
    across = Scale(rates[0], rates[-1], LEFT, WIDTH - RIGHT, is_log=True)
    lowest, first = min(smoothed), smoothed[0]
    ceiling = max(first, lowest) + ABOVE * (first - lowest)
    shown = [min(loss, ceiling) for loss in losses]
    up = timelines.upward([*shown, lowest], is_log=False, from_zero=False)
    dots = "".join(
        f'<circle cx="{across.place(rate):.1f}" cy="{up.place(loss):.1f}" r="1.8" fill="var(--soft)" '
        'fill-opacity=".55"/>'
        for rate, loss in zip(rates, shown, strict=True)
    )
    points = " ".join(
        f"{across.place(rate):.1f},{up.place(min(loss, ceiling)):.1f}"
        for rate, loss in zip(rates, smoothed, strict=True)
    )
    line = f'<polyline points="{points}" fill="none" stroke="var(--c0)" stroke-width="2.2"/>'
    said = "; ".join([f"first {first:.3f}, lowest {lowest:.3f}", *(f"{name} {rate:.2g}" for rate, name in marks)])
    label = escape(f"Loss over learning rate: {said}", quote=True)
    body = timelines.levels(up) + _axis(across) + dots + line
    body += "".join(_mark(across, number, *mark) for number, mark in enumerate(marks))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{body}</svg>'


def _axis(across: Scale) -> str:
    base, parts = HEIGHT - BOTTOM, []
    for value in across.ticks():
        x = across.place(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}" stroke="var(--soft)"/>')
        parts.append(f'<text x="{x:.1f}" y="{base + 19}" text-anchor="middle">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">learning rate, logarithmic</text>')
    return "".join(parts)


def _mark(across: Scale, number: int, rate: float, name: str) -> str:
    x, colour = across.place(rate), f"var(--c{1 + number})"
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{colour}" stroke-width="1.6" '
        f'stroke-dasharray="5 4"><title>{escape(name)}: {rate:.2g}</title></line>'
    )
