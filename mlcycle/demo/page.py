"""The page that the demo writes: training and inference compared, in one file that loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mlcycle.demo.comparison import Frozen, ImageResult, Row, TrainingCost, duration, size
from mlcycle.demo.source_images import UNSEEN, contact_sheet
from mlcycle.reporting import pages
from mlcycle.reporting.charts.series import Series, over_steps

SHEET_COLUMNS, SHEET_ROWS, SHEET_SIDE = 8, 4, 160


@dataclass(frozen=True, slots=True)
class DemoResults:
    """The contents of the page; `metrics` are the lines of the run's metrics.jsonl, `commands` as typed."""

    training: TrainingCost
    frozen: Frozen
    results: tuple[ImageResult, ...]
    rows: tuple[Row, ...]
    commands: tuple[str, ...]
    metrics: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _EmbeddedImage:
    """An image in the page: its bytes as a data URI, its size in pixels, and its alternative text."""

    uri: str
    width: int
    height: int
    text: str


def render(demo: DemoResults, scenes: Path, annotated: Path) -> str:
    """Returns the page.

    Args:
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
        images=_images(demo.results, annotated),
        sources="; ".join(f"{each.caption} ({each.source})" for each in UNSEEN),
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


def _embedded(image: Image.Image, text: str) -> _EmbeddedImage:
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=86)
    return _EmbeddedImage(f"data:image/jpeg;base64,{base64.b64encode(memory.getvalue()).decode()}", *image.size, text)
