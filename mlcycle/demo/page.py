"""The page that the demo writes: training and inference compared, in one file that loads nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import mlcycle
from mlcycle.demo.comparison import Frozen, ImageResult, Row, TrainingCost, duration, size
from mlcycle.demo.learning import Learning, Stage
from mlcycle.demo.limits import CAMERAMAN_SOURCE, Limit, LimitResult
from mlcycle.demo.source_images import UNSEEN, contact_sheet
from mlcycle.reporting import pages
from mlcycle.reporting.charts.series import Series, over_steps
from mlcycle.reporting.data_uri import data_uri

SHEET_COLUMNS, SHEET_ROWS, SHEET_SIDE = 8, 4, 160
# The longest side of smaller images, in pixels.
STAGE_SIDE, LIMIT_SIDE = 420, 640
MISSED, MISSED_WIDTH = (226, 58, 52), 3


@dataclass(frozen=True, slots=True)
class DemoResults:
    """The contents of the page.

    Attributes:
        commands: as typed.
        metrics: the lines of the run's metrics.jsonl.
    """

    training: TrainingCost
    frozen: Frozen
    results: tuple[ImageResult, ...]
    rows: tuple[Row, ...]
    commands: tuple[str, ...]
    metrics: tuple[dict[str, Any], ...]
    learning: Learning
    limits: tuple[LimitResult, ...]


@dataclass(frozen=True, slots=True)
class _EmbeddedImage:
    """An image in the page: its bytes as a data URI, its size in pixels, and its alternative text."""

    uri: str
    width: int
    height: int
    text: str


def render(demo: DemoResults, page: Path, scenes: Path, annotated: Path) -> str:
    """Returns the page.

    Args:
        page: where it will be, from where its links lead.
        scenes: the folder of the training scenes, some of which are shown.
        annotated: the folder of the annotated images.
    """
    return pages.render(
        "demo.html",
        title="From training to inference",
        training=demo.training,
        results=demo.results,
        frozen=demo.frozen,
        rows=demo.rows,
        commands=demo.commands,
        sheet=_sheet(scenes),
        curves=_curves(demo.metrics),
        shown=UNSEEN[0].caption,
        learning=demo.learning,
        stages=[(each, *_stage(each)) for each in demo.learning.stages],
        images=_images(demo.results, annotated),
        limits=[(_limit(each, annotated), each) for each in demo.limits],
        lessons=_lessons(page.parent),
        sources="; ".join([*(f"{each.caption} ({each.source})" for each in UNSEEN), CAMERAMAN_SOURCE]),
        duration=duration,
        size=size,
    )


def _sheet(scenes: Path) -> _EmbeddedImage:
    paths = sorted(scenes.glob("*.jpg"))[: SHEET_COLUMNS * SHEET_ROWS]
    text = f"{len(paths)} scenes with faces of many sizes and lights, in front of walls, grass and other backgrounds"
    return _embedded(contact_sheet(paths, SHEET_COLUMNS, SHEET_SIDE), text)


def _curves(metrics: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    losses = [(each["step"], each["loss"]) for each in metrics if "loss" in each]
    scores = [(each["step"], each["average_precision_50"]) for each in metrics if "average_precision_50" in each]
    curves = (("Loss", "loss", losses), ("Average precision on validation scenes", "AP50", [(0, 0.0), *scores]))
    return [(title, over_steps(title, [Series(name, points)])) for title, name, points in curves]


def _images(results: Sequence[ImageResult], annotated: Path) -> list[tuple[_EmbeddedImage, str, ImageResult]]:
    images = []
    for unseen, result in zip(UNSEEN, results, strict=True):
        with Image.open(annotated / unseen.name) as file:
            image = file.convert("RGB")
        count = len(result.found)
        boxes = f"{count} face{'' if count == 1 else 's'} marked" if count else "nothing marked"
        caption = unseen.caption[0].upper() + unseen.caption[1:]
        images.append((_embedded(image, f"{unseen.caption}; {boxes}"), caption, result))
    return images


def _stage(stage: Stage) -> tuple[_EmbeddedImage, LimitResult, _EmbeddedImage]:
    """Returns the image with what is found after a step, whether that is right, and the filters of the first layer."""
    first = UNSEEN[0]
    result = LimitResult(Limit(first.name, (first.box_4,) if first.box_4 else (), first.caption), stage.found)
    small = stage.image.copy()
    small.thumbnail((STAGE_SIDE, STAGE_SIDE), Image.Resampling.LANCZOS)
    text = f"{first.caption}, after {stage.step:,} steps. {result.verdict}"
    filters = _embedded(stage.filters, f"The filters of the first layer after {stage.step:,} steps", "PNG")
    return _embedded(small, text), result, filters


def _limit(result: LimitResult, annotated: Path) -> _EmbeddedImage:
    """Returns the annotated image with the faces that were missed marked in red."""
    with Image.open(annotated / result.limit.name) as file:
        image = file.convert("RGB")
    width = image.width
    image.thumbnail((LIMIT_SIDE, LIMIT_SIDE), Image.Resampling.LANCZOS)
    pen, scale = ImageDraw.Draw(image), image.width / width
    for box_4 in result.missed:
        pen.rectangle([each * scale for each in box_4], outline=MISSED, width=MISSED_WIDTH)
    return _embedded(image, f"{result.limit.caption}. {result.verdict}")


def _lessons(folder: Path) -> dict[str, str]:
    """Returns the links to the lessons of the checkout that mlcycle runs from, by name; none without a checkout."""
    lessons = Path(mlcycle.__file__).resolve().parents[1] / "docs" / "lessons"
    paths = {"slider": lessons / "two-phases.html", "lessons": lessons / "index.md"}
    if not all(path.is_file() for path in paths.values()):
        return {}
    return {name: Path(os.path.relpath(path, folder.resolve())).as_posix() for name, path in paths.items()}


def _embedded(image: Image.Image, text: str, form: str = "JPEG") -> _EmbeddedImage:
    options = {"quality": 86} if form == "JPEG" else {}
    return _EmbeddedImage(data_uri(image, form, **options), *image.size, text)
