"""Charts of training: values over steps, losses over learning rates, and scores over the values of a sweep."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from mlcycle.reporting.charts import axes
from mlcycle.reporting.charts.axes import SMALL, SOFT, Axes, Points, tick_label

# Points drawn of a line, each the mean of its neighbours; more cannot be seen. With few points each has a dot.
POINTS, WITH_DOTS = 160, 40
# A loss is drawn at the upper border where it exceeds the first loss by more than this share of the whole fall:
# a diverging loss would otherwise flatten the rest.
ABOVE = 0.35
# Labels of values that fit side by side, and the characters of one.
LABELS, CHARACTERS = 7, 12
# How far the dots of two lines are apart, where 1 is the distance of two values.
APART = 0.07


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name, and step and value of each point, by step."""

    name: str
    points: Points


@dataclass(frozen=True, slots=True)
class Trials:
    """A line over the values of a sweep: its name, and for each value the scores of its runs, none or several."""

    name: str
    scores: Sequence[Sequence[float]]


def over_steps(
    title: str,
    series: Sequence[Series],
    *,
    is_log: bool = False,
    as_percent: bool = False,
    is_score: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Returns lines over steps, with a legend that gives the last value of each; nothing if no series has a point.

    Args:
        title: of the chart, for readers that cannot see it.
        is_log: draw values on a logarithmic scale if all are above 0.
        as_percent: write values in percent.
        is_score: the values are scores of 0 to 1; the scale then starts near the lowest instead of at 0, and is never
            so fine that chance looks like a rise or a fall.
        marks: steps at which something happened, and what.
    """
    series = [each for each in series if each.points]
    if not series:
        return Markup("")
    values = [value for each in series for _, value in each.points]
    is_log = is_log and 0 < min(values) < max(values)
    linear = axes.score_range(values) if is_score else axes.range_of(values, from_zero=True)
    y = (min(values) * 0.9, max(values) * 1.1) if is_log else linear
    last = max(step for each in series for step, _ in each.points) or 1
    chart = Axes(SMALL, (0, last), y, y_log=is_log)
    lasts = [_value(each.points[-1][1], as_percent) for each in series]
    label = "; ".join(f"{each.name} ends at {value}" for each, value in zip(series, lasts, strict=True))
    drawing = chart.svg(
        f"{title}: {label}",
        chart.y_axis((value, tick_label(value, as_percent=as_percent)) for value in chart.y.ticks()),
        chart.x_axis(((step, _step(step, last)) for step in chart.x.ticks()), "step"),
        *(chart.vertical(min(step, last), name, stroke=SOFT, stroke_dasharray="2 4") for step, name in marks),
        *(_over_steps(chart, number, each) for number, each in enumerate(series)),
    )
    return drawing + axes.series_legend((each.name, value) for each, value in zip(series, lasts, strict=True))


def _over_steps(chart: Axes, number: int, series: Series) -> Markup:
    points = thin(series.points)
    line = chart.polyline(points, number)
    if len(points) > WITH_DOTS:
        return line
    titles = [f"{series.name} at step {step:,.0f}: {value:.4g}" for step, value in points]
    return line + chart.dots(points, titles, fill=axes.colour(number))


def thin(points: Points) -> list[tuple[float, float]]:
    """Returns at most POINTS points, each the mean of as many neighbours; the last step stays."""
    if len(points) <= POINTS:
        return list(points)
    ends = [len(points) * place // POINTS for place in range(POINTS + 1)]
    pieces = [points[first:last] for first, last in pairwise(ends)]
    means = [(sum(x for x, _ in piece) / len(piece), sum(y for _, y in piece) / len(piece)) for piece in pieces]
    return [*means[:-1], (points[-1][0], means[-1][1])]


def over_rates(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], marks: Sequence[tuple[float, str]]
) -> Markup:
    """Returns the loss of each step as a dot and the smoothed loss as a line, over logarithmic learning rates.

    Args:
        marks: rates that are marked by an upright line, and their names.
    """
    first, lowest = smoothed[0], min(smoothed)
    ceiling = first + ABOVE * (first - lowest)
    shown, line = ([min(loss, ceiling) for loss in each] for each in (losses, smoothed))
    chart = Axes(SMALL, (rates[0], rates[-1]), axes.range_of([*shown, *line], from_zero=False), x_log=True)
    named = "; ".join([f"first {first:.3f}, lowest {lowest:.3f}", *(f"{name} {rate:.2g}" for rate, name in marks)])
    styles = [
        {"stroke": axes.colour(number), "stroke_dasharray": "5 4", "stroke_width": 1.6}
        for number, _ in enumerate(marks, 1)
    ]
    drawing = chart.svg(
        f"Loss over learning rate: {named}",
        chart.y_axis((value, tick_label(value)) for value in chart.y.ticks()),
        chart.x_axis(((rate, _rate(rate)) for rate in chart.x.ticks()), "learning rate, logarithmic"),
        chart.dots(list(zip(rates, shown, strict=True)), radius=1.8, fill=SOFT, fill_opacity=".55"),
        chart.polyline(list(zip(rates, line, strict=True))),
        *(
            chart.vertical(rate, f"{name}: {rate:.2g}", **style)
            for (rate, name), style in zip(marks, styles, strict=True)
        ),
    )
    return drawing + axes.legend(
        (axes.line_sample(**style), name, f"{rate:.2g}") for (rate, name), style in zip(marks, styles, strict=True)
    )


def over_values(title: str, values: Sequence[str], lines: Sequence[Trials]) -> Markup:
    """Returns a dot for each score, over values at equal distances in the given order.

    Where a value has several scores, a bar is their mean ± their standard deviation. Only such means are joined by a
    line: a slope through single runs would claim what they do not show. Lines without a score are left out; without any
    score nothing is returned. Several lines have a legend.
    """
    lines = [line for line in lines if any(line.scores)]
    if not lines:
        return Markup("")
    scores = [score for line in lines for group in line.scores for score in group]
    spreads = [_spreads(line) for line in lines]
    ends = [
        end for each in spreads for mean, deviation in each.values() for end in (mean - deviation, mean + deviation)
    ]
    y = axes.range_of([*scores, *ends], from_zero=False) if ends else axes.score_range(scores)
    chart = Axes(SMALL, (-0.5, len(values) - 0.5), y)
    label = "; ".join(f"{line.name}: {_described(line, values)}" for line in lines)
    drawing = chart.svg(
        f"{title}: {label}",
        chart.y_axis((value, tick_label(value)) for value in chart.y.ticks()),
        chart.x_axis(_value_labels(values)),
        *(
            _trials(chart, number, (number - (len(lines) - 1) / 2) * APART, line, values)
            for number, line in enumerate(lines)
        ),
    )
    if len(lines) == 1:
        return drawing
    samples = [_sample(number, each) for number, each in enumerate(spreads)]
    return drawing + axes.legend((sample, line.name, "") for sample, line in zip(samples, lines, strict=True))


def _rate(rate: float) -> str:
    """Returns a rate as 0.01 or 5e-4, short enough for a phone."""
    return f"{rate:g}" if rate >= 0.01 else f"{rate:.0e}".replace("e-0", "e-")


def _spreads(line: Trials) -> dict[int, tuple[float, float]]:
    """Returns mean and sample standard deviation of each value that has several scores, by its place."""
    groups = enumerate(line.scores)
    return {place: (statistics.fmean(group), statistics.stdev(group)) for place, group in groups if len(group) > 1}


def _described(line: Trials, values: Sequence[str]) -> str:
    means = [(values[place], statistics.fmean(group)) for place, group in enumerate(line.scores) if group]
    return ", ".join(f"{value} {mean:.3f}" for value, mean in means)


def _trials(chart: Axes, number: int, shift: float, line: Trials, values: Sequence[str]) -> Markup:
    """Returns the dots of a line, the bars of its means, and the pieces of line between them, shifted to the right."""
    colour, spreads = axes.colour(number), _spreads(line)
    points = [(place + shift, score) for place, group in enumerate(line.scores) for score in group]
    titles = [
        f"{line.name}, {values[place]}: {score:.4f}" for place, group in enumerate(line.scores) for score in group
    ]
    joined = [
        chart.polyline([(place + shift, spreads[place][0]) for place in pair], number)
        for pair in pairwise(range(len(values)))
        if all(place in spreads for place in pair)
    ]
    bars = [
        chart.error_bar(place + shift, mean, deviation, f"{line.name}, {values[place]}", stroke=colour)
        for place, (mean, deviation) in spreads.items()
    ]
    opacity = ".4" if spreads else ".85"
    return axes.join([*joined, *bars, chart.dots(points, titles, radius=3.2, fill=colour, fill_opacity=opacity)])


def _sample(number: int, spreads: dict[int, tuple[float, float]]) -> Markup:
    """Returns the sample of a line for a legend: a line only if one is drawn."""
    is_joined = any(place + 1 in spreads for place in spreads)
    return axes.line_sample(**axes.line_style(number)) if is_joined else axes.swatch(axes.colour(number))


def _value_labels(values: Sequence[str]) -> list[tuple[float, str]]:
    """Returns a tick for each value, labelled where there is space."""
    every = -(-len(values) // LABELS)
    short = [value if len(value) <= CHARACTERS else f"{value[: CHARACTERS - 1]}…" for value in values]
    return [(place, label if place % every == 0 else "") for place, label in enumerate(short)]


def _step(value: float, last: float) -> str:
    return f"{value / 1000:g}k" if last >= 10_000 and value else f"{value:,g}"


def _value(value: float, as_percent: bool) -> str:
    return f"{value * 100:.1f} %" if as_percent else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
