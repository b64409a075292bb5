"""A run's report: one page of HTML with its curves and figures; it opens anywhere and loads nothing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 240, 56, 28

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --ink: #1d2430; --soft: #6b7686; --line: #2563c9; --rule: #d8dee8; --paper: #fff }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6eaf1; --soft: #98a2b3; --line: #7db0ff; --rule: #343c49; --paper: #14181f }}
}}
body {{
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
}}
h2 {{ margin-top: 2rem; font-size: 1.1rem }}
svg {{ width: 100%; height: auto }}
svg text {{ font-size: 12px; fill: var(--soft) }}
table {{ border-collapse: collapse; width: 100% }}
td {{ border-bottom: 1px solid var(--rule); padding: .3rem .5rem; vertical-align: top; overflow-wrap: anywhere }}
td:first-child {{ color: var(--soft); white-space: nowrap }}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""
CURVES = (
    ("Loss", "loss"),
    ("Held-out AP50", "average_precision_50"),
    ("Held-out AP", "average_precision"),
    ("Images a second", "images_per_second"),
    ("Share of time spent waiting for data", "data_wait_share"),
)


def render_report(name: str, metrics: Sequence[dict[str, Any]], figures: dict[str, Any]) -> str:
    """Returns the page.

    Args:
        metrics: the lines of metrics.jsonl.
        figures: nested names and values, shown as a table below the curves.
    """
    parts = []
    for heading, key in CURVES:
        points = [(entry["step"], entry[key]) for entry in metrics if key in entry]
        if points:
            parts.append(f"<h2>{heading}</h2>{draw_curve(points, heading)}")
    rows = (f"<tr><td>{html.escape(key)}</td><td>{html.escape(str(value))}</td></tr>" for key, value in _flat(figures))
    parts.append(f"<h2>Figures</h2><table>{''.join(rows)}</table>")
    return PAGE.format(title=html.escape(f"Training report: {name}"), body="".join(parts))


def draw_curve(points: Sequence[tuple[float, float]], label: str) -> str:
    """Returns an SVG of values over steps, with its last value written at its end."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(0.0, *ys), max(ys) or 1.0
    span_x, span_y = (max(xs) - min(xs)) or 1, (high - low) or 1

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - min(xs)) / span_x * (WIDTH - LEFT - 48),
            HEIGHT - BOTTOM - (y - low) / span_y * (HEIGHT - BOTTOM - 12),
        )

    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    end_x, end_y = place(*points[-1])
    base = HEIGHT - BOTTOM
    said = f"{label} over steps, at the end {ys[-1]:.3g}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(said)}">'
        f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 48}" y2="{base}" stroke="var(--rule)"/>'
        f'<text x="{LEFT - 6}" y="{base + 4}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{LEFT - 6}" y="16" text-anchor="end">{high:.3g}</text>'
        f'<text x="{WIDTH - 48}" y="{HEIGHT - 8}" text-anchor="end">step {max(xs):g}</text>'
        f'<polyline points="{path}" fill="none" stroke="var(--line)" stroke-width="2"/>'
        f'<circle cx="{end_x:.1f}" cy="{end_y:.1f}" r="3" fill="var(--line)"/>'
        f'<text x="{end_x + 6:.1f}" y="{end_y + 4:.1f}">{ys[-1]:.3g}</text></svg>'
    )


def _flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in figures.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows
