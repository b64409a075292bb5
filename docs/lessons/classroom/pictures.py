"""Pictures for the lessons: images with boxes, and charts. Both are SVG, in the colours of the page, light or dark."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import marimo as mo
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

FOUND, DOUBTFUL, TRUTH = "#1a9850", "#e08214", "#3b8fd0"
# Drawn in this colour, a line or a letter takes the colour of the page's text.
INK = "#012345"
# Images are embedded with at most this many pixels a side.
EMBEDDED_PIXELS = 512
SMALL_SIDE = 200


@dataclass(frozen=True)
class Panel:
    """An image and what to draw on it.

    Attributes:
        image: a file, a Pillow image, or an array of shape (height, width, 3), uint8 or from 0 to 1.
        title: the line below it.
        boxes_N4, scores_N: what was found, x1 y1 x2 y2 in pixels.
        threshold: boxes with a lower score are dashed.
        truth_M4: boxes of the labels, in blue.
    """

    image: object
    title: str = ""
    boxes_N4: Sequence = ()
    scores_N: Sequence = ()
    threshold: float = 0.0
    truth_M4: Sequence = ()


def images(panels: Sequence[Panel], side: int = 280) -> mo.Html:
    """Returns images side by side, each `side` pixels wide, or less on a narrow page."""
    is_small = side <= SMALL_SIDE and len(panels) > 1  # two in a row, even on a phone
    across = f"min({side}px, {'50% - 6px' if is_small else '100%'})"
    figures = "".join(_figure(panel, across) for panel in panels)
    return mo.Html(f'<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:start">{figures}</div>')


def beside(*parts: mo.Html, least: int = 300) -> mo.Html:
    """Returns parts side by side, or one below the other where they would be narrower than `least` pixels."""
    columns = "".join(f'<div style="flex:1 1 {least}px;min-width:0">{part.text}</div>' for part in parts)
    return mo.Html(f'<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:start">{columns}</div>')


def refusal(error: str) -> mo.Html:
    """Shows the error with which something was refused, or that it was accepted ("")."""
    if error:
        return mo.callout(mo.md(f"**Refused:** {error}"), kind="danger")
    return mo.callout(mo.md("**Accepted.**"), kind="success")


def filters(weights_F333: np.ndarray) -> mo.Html:
    """Returns the filters of a first layer as small images: dark for the smallest weight, bright for the largest."""
    least, most = weights_F333.min(), weights_F333.max()
    tiles = ((weights_F333 - least) / (most - least)).transpose(0, 2, 3, 1)
    return images([Panel(tile) for tile in tiles], side=72)


def chart(title: str, across: str, up: str, size: tuple[float, float] = (7.0, 3.2)) -> tuple[Figure, Axes]:
    """Returns an empty chart with the names of its axes, `size` in inches; `show` makes a picture of it."""
    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    axes = figure.subplots()
    axes.set_facecolor("none")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.tick_params(colors=INK)
    axes.spines[:].set_color(INK)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend(axes: Axes, names: Sequence[str] | None = None) -> None:
    """Adds the names of a chart's lines or bars to it; `names` if each of them was drawn several times."""
    marks, labels = axes.get_legend_handles_labels()
    first = {label: mark for mark, label in zip(reversed(marks), reversed(labels), strict=True)}
    chosen = names or labels
    axes.legend([first[each] for each in chosen], chosen, frameon=False, labelcolor=INK)


def show(figure: Figure) -> mo.Html:
    """Returns a chart as a picture that a page of any theme can show."""
    memory = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lesson"}):
        figure.savefig(memory, format="svg", metadata={"Date": None})
    svg = memory.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return mo.Html(
        re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 style="max-width:100%;height:auto"', svg, count=1)
    )


def losses(metrics: Sequence[dict[str, Any]], step: int | None = None) -> mo.Html:
    """Returns the loss of a run by step, from the lines of its metrics, with a mark at `step`."""
    reports = [each for each in metrics if "loss" in each]
    figure, axes = chart("Loss", "step", "", (5.6, 3.2))
    axes.plot([each["step"] for each in reports], [each["loss"] for each in reports], color=TRUTH)
    axes.set_ylim(bottom=0)
    if step is not None:
        axes.axvline(step, color=DOUBTFUL)
    return show(figure)


def _figure(panel: Panel, across: str) -> str:
    """Returns an image with its boxes and title; `across` is its width in CSS."""
    image = _opened(panel.image)
    width, height = image.size
    marks = [_box(box_4, TRUTH) for box_4 in panel.truth_M4]
    for box_4, score in zip(panel.boxes_N4, panel.scores_N, strict=True):
        is_face = score >= panel.threshold
        colour = FOUND if is_face else DOUBTFUL
        marks.append(_box(box_4, colour, "" if is_face else "6 4") + _label(box_4, score, colour, width))
    title = escape(panel.title)
    return (
        f'<figure style="margin:0;width:{across}"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}"'
        f' style="width:100%;display:block"><image width="{width}" height="{height}" href="{_uri(image)}"'
        f' style="image-rendering:{"pixelated" if width < 16 else "auto"}"/>{"".join(marks)}</svg>'
        f'<figcaption style="font-size:0.85em">{title}</figcaption></figure>'
    )


def _box(box_4: Sequence[float], colour: str, dashes: str = "") -> str:
    x1, y1, x2, y2 = (round(float(each), 1) for each in box_4)
    return (
        f'<rect x="{x1}" y="{y1}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}" fill="none" stroke="{colour}"'
        f' stroke-width="2.5" stroke-dasharray="{dashes}" vector-effect="non-scaling-stroke"/>'
    )


def _label(box_4: Sequence[float], score: float, colour: str, width: int) -> str:
    size = width / 22
    x, y = float(box_4[0]), max(float(box_4[1]), 1.2 * size)
    return (
        f'<rect x="{x:.1f}" y="{y - 1.2 * size:.1f}" width="{2.5 * size:.1f}" height="{1.2 * size:.1f}"'
        f' fill="{colour}"/><text x="{x + 0.2 * size:.1f}" y="{y - 0.25 * size:.1f}" font-size="{size:.1f}"'
        f' font-family="sans-serif" fill="white">{score:.2f}</text>'
    )


def _opened(image: object) -> Image.Image:
    if isinstance(image, np.ndarray):
        return Image.fromarray(image if image.dtype == np.uint8 else (image * 255).astype(np.uint8))
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    with Image.open(image) as file:
        return file.convert("RGB")


def _uri(image: Image.Image) -> str:
    small, memory = image.copy(), io.BytesIO()
    small.thumbnail((EMBEDDED_PIXELS, EMBEDDED_PIXELS))
    if small.width < 16:
        small.save(memory, "PNG")
        return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()
    small.save(memory, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(memory.getvalue()).decode()
