"""What all charts share: SVG elements, scales with round ticks, axes, and legends.

Colours are CSS variables of the page: `--c0` to `--c5` for series, `--miss`, `--ink`, `--soft` and `--rule`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

COLOURS = 6
# A pattern for each line, so that lines differ without colour.
DASHES = (None, "7 3", "2 3", "9 3 2 3", "12 4")
SOFT, INK, RULE, MISS = "var(--soft)", "var(--ink)", "var(--rule)", "var(--miss)"
# The least span of an axis of scores: on a few hundred images, differences of .01 are chance and must look small.
SCORE_SPAN = 0.2
# In drawing units: width and height of a chart, its margins, and about the width of a digit.
SMALL, LARGE = (380, 230), (480, 360)
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 12, 44
DIGIT = 9
# Half of the width of the cap of an error bar, in drawing units.
CAP = 4

Points = Sequence[tuple[float, float]]
Ticks = Iterable[tuple[float, str]]


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """Returns an SVG or HTML element with escaped content and attribute values.

    In a name, `_` stands for `-` (`stroke_width`) and a last one is dropped (`class_`). None leaves an attribute out.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _rounded(value))
        for name, value in attributes.items()
        if value is not None
    )
    if not content:
        return Markup("<{}{}/>").format(tag, written)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, written, join(content))


def join(parts: Iterable[object]) -> Markup:
    """Returns parts as one piece of HTML; those that are plain text are escaped."""
    return Markup("").join(parts)  # type: ignore[arg-type]


def _rounded(value: object) -> object:
    return f"{value:.1f}" if isinstance(value, float) else value


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low` to `high` to drawing units from `start` to `end`, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Returns where a value lies, in drawing units."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.is_log else (self.low, self.high)
        value = math.log10(max(value, self.low)) if self.is_log else value
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Returns about four round values."""
        if not self.is_log:
            return _round_values(self.low, self.high)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        digits = (1,) if len(powers) > 4 else (1, 2, 5) if len(powers) < 4 else (1, 3)
        values = [digit * 10.0**power for power in powers for digit in digits]
        values = [value for value in values if self.low <= value * (1 + 1e-9) and value <= self.high * (1 + 1e-9)]
        return values if len(values) > 2 else _round_values(self.low, self.high)


def _round_values(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def range_of(values: Sequence[float], *, from_zero: bool) -> tuple[float, float]:
    """Returns the ends of a linear scale that holds all values, with a margin."""
    low, high = min(values), max(values)
    if from_zero or high == low:
        low, high = min(0.0, low), max(high, 0.0)
    margin = (high - low) * 0.06 or 0.5
    return (low - margin if low else low), high + margin


def score_range(scores: Sequence[float]) -> tuple[float, float]:
    """Returns the ends of a linear scale that holds all scores, within 0 to 1, and spans at least SCORE_SPAN."""
    low, high = min(scores), max(scores)
    margin = max((high - low) * 0.06, (SCORE_SPAN - (high - low)) / 2)
    low, high = low - margin, high + margin
    if low < 0:
        return 0.0, min(1.0, max(high, SCORE_SPAN))
    return (min(low, 1 - SCORE_SPAN), 1.0) if high > 1 else (low, high)


class Axes:
    """A pair of axes, with methods that return what is drawn on them.

    Args:
        size: SMALL or LARGE.
        x, y: the lowest and the highest value of each axis.
        x_log, y_log: whether the axis is logarithmic.
    """

    def __init__(
        self,
        size: tuple[int, int],
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        x_log: bool = False,
        y_log: bool = False,
    ) -> None:
        self.width, self.height = size
        self.right, self.base = self.width - RIGHT, self.height - BOTTOM
        self.x = Scale(*x, LEFT, self.right, x_log)
        self.y = Scale(*y, self.base, TOP, y_log)

    def svg(self, label: str, *parts: object) -> Markup:
        """Returns the drawing; `label` describes it to readers that cannot see it."""
        return element("svg", *parts, viewBox=f"0 0 {self.width} {self.height}", role="img", aria_label=label)

    def y_axis(self, ticks: Ticks, title: str = "") -> Markup:
        """Returns a horizontal rule with its label for each tick, and the base line."""
        parts = []
        for value, label in ticks:
            y = self.y.place(value)
            parts.append(element("line", x1=LEFT, x2=self.right, y1=y, y2=y, stroke=RULE))
            parts.append(element("text", label, x=LEFT - 7, y=y + 4, text_anchor="end"))
        parts.append(element("line", x1=LEFT, x2=self.right, y1=self.base, y2=self.base, stroke=SOFT))
        if title:
            turn = f"translate(12 {(TOP + self.base) / 2:g}) rotate(-90)"
            parts.append(element("text", title, transform=turn, text_anchor="middle"))
        return join(parts)

    def x_axis(self, ticks: Ticks, title: str = "") -> Markup:
        """Returns a mark with its label for each tick."""
        parts = []
        for value, label in ticks:
            x = self.x.place(value)
            parts.append(element("line", x1=x, x2=x, y1=self.base, y2=self.base + 5, stroke=SOFT))
            # Near the border a centred label would be cut off.
            inside = min(x, self.width - len(label) * DIGIT / 2) if label else x
            parts.append(element("text", label, x=inside, y=self.base + 19, text_anchor="middle"))
        if title:
            middle = (LEFT + self.right) / 2
            parts.append(element("text", title, x=middle, y=self.height - 5, text_anchor="middle"))
        return join(parts)

    def polyline(self, points: Points, number: int = 0) -> Markup:
        """Returns a line in the style of series `number`."""
        places = " ".join(f"{self.x.place(x):.1f},{self.y.place(y):.1f}" for x, y in points)
        return element("polyline", points=places, fill="none", stroke_width=2, **line_style(number))

    def dots(self, points: Points, titles: Sequence[str] = (), *, radius: float = 2.6, **style: object) -> Markup:
        """Returns a dot at each point; `titles` are shown where the pointer rests on one."""
        named = titles or [""] * len(points)
        return join(
            element(
                "circle",
                *([element("title", title)] if title else []),
                cx=self.x.place(x), cy=self.y.place(y), r=radius, **style,
            )
            for (x, y), title in zip(points, named, strict=True)
        )  # fmt: skip

    def error_bar(self, x: float, mean: float, deviation: float, name: str, **style: object) -> Markup:
        """Returns a bar from `mean - deviation` to `mean + deviation`, with a cap at both ends and one at the mean."""
        title = element("title", f"{name}: {mean:.4f} ± {deviation:.4f}")
        middle = self.x.place(x)
        top, centre, bottom = (self.y.place(mean + sign * deviation) for sign in (1, 0, -1))
        caps = [(top, CAP), (centre, 1.6 * CAP), (bottom, CAP)]
        path = f"M{middle:.1f} {top:.1f}V{bottom:.1f}"
        path += "".join(f"M{middle - half:.1f} {y:.1f}h{2 * half:.1f}" for y, half in caps)
        return element("path", title, d=path, fill="none", stroke_width=1.8, **style)

    def vertical(self, x: float, title: str, **style: object) -> Markup:
        """Returns an upright line from the top to the base."""
        place, named = self.x.place(x), element("title", title)
        return element("line", named, x1=place, x2=place, y1=TOP, y2=self.base, **style)


def colour(number: int) -> str:
    """Returns the colour of series `number`."""
    return f"var(--c{number % COLOURS})"


def line_style(number: int) -> dict[str, Any]:
    """Returns colour and dashes of series `number`, as attributes of a line."""
    return {"stroke": colour(number), "stroke_dasharray": DASHES[number % len(DASHES)]}


def line_sample(**style: object) -> Markup:
    """Returns a short piece of a line, for a legend."""
    line = element("line", x1=0, x2=30, y1=4, y2=4, **{"stroke_width": 3, **style})
    return element("svg", line, class_="sample", viewBox="0 0 30 8", aria_hidden="true")


def swatch(fill: str) -> Markup:
    """Returns a square of a colour, for a legend."""
    return element("i", "", style=f"background:{fill}")


def series_legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """Returns a legend of names and values in the styles of series 0, 1 …"""
    return legend((line_sample(**line_style(number)), *entry) for number, entry in enumerate(entries))


def legend(entries: Iterable[tuple[Markup, str, str]]) -> Markup:
    """Returns a list of samples with their names and, in bold, their values."""
    items = [
        element("li", sample, name, *([" ", element("b", value)] if value else [])) for sample, name, value in entries
    ]
    return element("ul", *items, class_="legend")


def tick_label(value: float, *, as_percent: bool = False) -> str:
    """Returns a number short enough for an axis: 0.2, 40k, 1.5G, 2.5e-4."""
    if as_percent:
        return f"{value * 100:.3g} %"
    if 0 < abs(value) < 1e-3:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(exponent)}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
