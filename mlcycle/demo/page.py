"""The page that the demo leaves: the two lives side by side, in one file that needs nothing from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image

from mlcycle.demo.comparison import Answer, Frozen, Row, Study, duration, quantity, size
from mlcycle.demo.source_images import UNSEEN, Unseen, contact_sheet

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Two lives of a model</title>
<style>
{style}</style>
</head>
<body>
<main>
{sections}
</main>
</body>
</html>
"""
SHEET_COLUMNS, SHEET_ROWS, SHEET_SIDE = 8, 4, 160
CURVE_WIDTH, CURVE_HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 60, 40, 34


@dataclass(frozen=True, slots=True)
class Story:
    """All that the page tells; `metrics` are the lines of the run's metrics.jsonl, `commands` as they were typed."""

    study: Study
    frozen: Frozen
    answers: tuple[Answer, ...]
    rows: tuple[Row, ...]
    commands: tuple[str, ...]
    metrics: tuple[dict[str, Any], ...]


def render(story: Story, scenes: Path, annotated: Path) -> str:
    """Returns the page.

    Args:
        scenes: the folder of the training scenes, of which some are shown.
        annotated: the folder of the annotated images.
    """
    sections = [
        _opening(story),
        _studied(story.study, scenes),
        _learning(story.metrics),
        _answered(story.answers, annotated),
        _compared(story.rows),
        _typed(story.commands),
        _closing(),
    ]
    style = resources.files("mlcycle.demo").joinpath("page.css").read_text("utf-8")
    return PAGE.format(style=style, sections="\n".join(sections))


def _opening(story: Story) -> str:
    study, frozen, answer = story.study, story.frozen, story.answers[0]
    return f"""<header>
<h1>Two lives of a model</h1>
<p class="lead">A model lives twice. First it is trained: it changes, until it knows a face when it sees one. Then it is
frozen into a file, and from there on only the images change. All figures here were measured on this machine.</p>
</header>
<div class="lives">
<section class="life study" aria-label="Training"><div class="name">First life: training</div>
<div class="figure">{escape(duration(study.seconds))}</div>
<p>to look {study.images:,} times at a piece of {study.scenes:,} scenes with {study.faces:,} faces,
and to change a little after every batch.</p></section>
<section class="life answer" aria-label="Inference"><div class="name">Second life: inference</div>
<div class="figure">{escape(duration(answer.milliseconds / 1000))}</div>
<p>from the file of an image that it never saw to the answer: “{escape(answer.verdict)}”</p></section>
</div>
<div class="file"><span>The two lives share one thing, the file:</span> <strong>{escape(frozen.name)}</strong>
<span>{escape(size(frozen.size))}, frozen and checked in {escape(duration(frozen.seconds))}</span>
<code>sha256 {escape(frozen.sha256)}</code></div>"""


def _studied(study: Study, scenes: Path) -> str:
    paths = sorted(scenes.glob("*.jpg"))[: SHEET_COLUMNS * SHEET_ROWS]
    image = _image(
        contact_sheet(paths, SHEET_COLUMNS, SHEET_SIDE),
        f"{len(paths)} scenes: photographed faces of many sizes, in many lights, before walls, grass and a garage, "
        "among other things that have the shape of a face and are none",
    )
    return f"""<h2>What it studied</h2>
<p>Real faces, each photographed small and grey, put into scenes in many sizes, lights and colours; and beside them
things that look like faces at a glance: the same oval, the same hair, the same shoulders, but no face inside. Only
the {study.faces:,} faces are labelled.</p>
<figure>{image}<figcaption>Some of the {study.scenes:,} scenes.</figcaption></figure>"""


def _learning(metrics: Sequence[dict[str, Any]]) -> str:
    losses = [(each["step"], each["loss"]) for each in metrics if "loss" in each]
    scores = [(each["step"], each["average_precision_50"]) for each in metrics if "average_precision_50" in each]
    return f"""<h2>How it learned</h2>
<p>Each step shows it one batch and moves every weight a little, so that its mistakes become smaller. Now and then it is
examined on scenes whose faces it never studies.</p>
<div class="curves">
{_curve(losses, "Its mistakes (loss)")}
{_curve([(0, 0.0), *scores], "Its marks (average precision on held-out scenes)")}
</div>"""


def _answered(answers: Sequence[Answer], annotated: Path) -> str:
    figures = "\n".join(_figure(*each, annotated) for each in zip(UNSEEN, answers, strict=True))
    return f"""<h2>Images that it never saw</h2>
<p>Whole images by a camera. None of them, nor any part of one, was in anything that it studied.</p>
<div class="images">
{figures}
</div>"""


def _figure(unseen: Unseen, answer: Answer, annotated: Path) -> str:
    with Image.open(annotated / unseen.name) as file:
        image = file.convert("RGB")
    marked = len(answer.found)
    boxes = f"{marked} face{'' if marked == 1 else 's'} marked" if marked else "nothing marked"
    wrong = "" if answer.is_right else " wrong"
    said, time = unseen.said[0].upper() + unseen.said[1:], duration(answer.milliseconds / 1000)
    return f"""<figure>{_image(image, f"{unseen.said}; {boxes}")}
<figcaption><span class="verdict{wrong}">{escape(answer.verdict)}</span>
{escape(said)}. Answered in {escape(time)}.</figcaption></figure>"""


def _compared(rows: Sequence[Row]) -> str:
    lines = "\n".join(
        f'<tr><th scope="row">{escape(row.what)}</th><td class="of-study">{escape(row.training)}</td>'
        f'<td class="of-answer">{escape(row.inference)}</td><td class="times">{escape(row.ratio)}</td></tr>'
        for row in rows
    )
    return f"""<h2>The two lives, measured</h2>
<div class="scroll"><table>
<thead><tr><th scope="col"></th><th scope="col">training</th><th scope="col">inference (one image)</th>
<th scope="col">ratio</th></tr></thead>
<tbody>
{lines}
</tbody></table></div>
<p><small>Multiply-adds are those of the convolutions; for training, a backward pass is counted as two forward ones.
Memory is the most that a command’s largest process held at once.</small></p>"""


def _typed(commands: Sequence[str]) -> str:
    typed = "\n".join(f"$ {escape(line)}" for line in commands)
    return f"""<h2>What was typed</h2>
<p>The demo did nothing but run these commands, in the folder of this page.</p>
<pre><code>{typed}</code></pre>"""


def _closing() -> str:
    sources = "; ".join(f"{each.said} ({each.source})" for each in UNSEEN)
    return f"""<footer><p>Images: {escape(sources)}.</p>
<p>Faces: a hundred of Labeled Faces in the Wild, as scikit-image brings them.
More in data/demo/README.txt.</p></footer>"""


def _image(image: Image.Image, description: str) -> str:
    """Returns an image as an element that carries its own bytes."""
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=86)
    data = base64.b64encode(memory.getvalue()).decode()
    size_and_text = f'width="{image.width}" height="{image.height}" alt="{escape(description)}"'
    return f'<img {size_and_text} src="data:image/jpeg;base64,{data}">'


def _curve(points: Sequence[tuple[float, float]], title: str) -> str:
    """Returns a line over steps as an SVG, with its last value written beside its end."""
    last_step, high = max(step for step, _ in points), max(value for _, value in points) or 1.0
    base = CURVE_HEIGHT - BOTTOM

    def place(step: float, value: float) -> tuple[float, float]:
        return LEFT + step / last_step * (CURVE_WIDTH - LEFT - RIGHT), base - value / high * (base - TOP)

    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    end_x, end_y = place(*points[-1])
    marks = "".join(
        f'<line x1="{LEFT}" x2="{CURVE_WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--rule)"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>'
        for value, y in ((share * high, place(0, share * high)[1]) for share in (0.0, 0.5, 1.0))
    )
    label = f"{title}: {points[0][1]:.2g} at first, {points[-1][1]:.2g} after {quantity(last_step)} steps"
    return (
        f'<svg viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<text x="{LEFT - 30}" y="22">{escape(title)}</text>{marks}'
        f'<text x="{CURVE_WIDTH - RIGHT}" y="{CURVE_HEIGHT - 10}" text-anchor="end">{last_step:,} steps</text>'
        f'<polyline points="{path}" fill="none" stroke="var(--study)" stroke-width="2.5" stroke-linejoin="round"/>'
        f'<circle cx="{end_x:.1f}" cy="{end_y:.1f}" r="4" fill="var(--study)"/>'
        f'<text x="{end_x + 9:.1f}" y="{end_y + 4:.1f}">{points[-1][1]:.2f}</text></svg>'
    )
