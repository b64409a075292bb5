"""The latency over the load, as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mlcycle.reporting.charts import axes
from mlcycle.reporting.charts.axes import INK, MISS, SMALL, Axes, Points, element, tick_label


@dataclass(frozen=True, slots=True)
class Limits:
    """A required load in requests per second, and the milliseconds that the p99 may take there."""

    rate: float
    milliseconds: float


def latency_over_load(title: str, lines: Sequence[tuple[str, Points]], limits: Limits) -> Markup:
    """Returns percentiles of the latency over requests per second, on a logarithmic scale, with the limits.

    Args:
        title: of the chart, for readers that cannot see it.
        lines: the name of each percentile and its points: requests per second, and milliseconds.
    """
    values = [value for _, points in lines for _, value in points] + [limits.milliseconds]
    last = max(x for _, points in lines for x, _ in points)
    chart = Axes(SMALL, (0, max(last, limits.rate) * 1.03), (min(values) * 0.8, max(values) * 1.25), y_log=True)
    y = chart.y.place(limits.milliseconds)
    named = "; ".join(f"{name} {points[-1][1]:.1f} ms at {points[-1][0]:,.0f} per second" for name, points in lines)
    required, allowed = {"stroke": INK, "stroke_dasharray": "2 4"}, {"stroke": MISS, "stroke_dasharray": "7 4"}
    drawing = chart.svg(
        f"{title}: {named}",
        chart.y_axis(((value, tick_label(value)) for value in chart.y.ticks()), "milliseconds"),
        chart.x_axis(((value, tick_label(value)) for value in chart.x.ticks()), "images per second"),
        element("line", x1=axes.LEFT, x2=chart.right, y1=y, y2=y, **allowed),
        chart.vertical(limits.rate, f"required: {tick_label(limits.rate)} per second", **required),
        *(_line(chart, number, name, points) for number, (name, points) in enumerate(lines)),
    )
    entries = [(axes.line_sample(**axes.line_style(number)), name, "") for number, (name, _) in enumerate(lines)]
    entries.append((axes.line_sample(**required), "required load", f"{tick_label(limits.rate)} per second"))
    entries.append((axes.line_sample(**allowed), "p99 to keep", f"{limits.milliseconds:,g} ms"))
    return drawing + axes.legend(entries)


def _line(chart: Axes, number: int, name: str, points: Points) -> Markup:
    titles = [f"{name} at {x:,.1f} per second: {value:,.1f} ms" for x, value in points]
    return chart.polyline(points, number) + chart.dots(points, titles, fill=axes.colour(number))
