"""Conductor of `mlcycle evaluate --page`: an evaluation → an HTML page with thumbnails of the worst errors."""

from __future__ import annotations

from PIL import Image

from mlcycle.datasets.member import ImagePath
from mlcycle.inference.decoding import images
from mlcycle.reporting import mistakes, page
from mlcycle.workflows.evaluate import Evaluation
from mlcycle.workflows.predictions import bytes_of


def render(evaluation: Evaluation) -> str:
    """Returns the page as HTML; unreadable images have no thumbnail."""
    found = [(each.boxes_M4, each.scores_M) for each in evaluation.predictions]
    seen = mistakes.Seen(evaluation.images, found, evaluation.matches, evaluation.metrics.balanced.threshold)
    return page.render(
        evaluation.metrics,
        evaluation.matches,
        mistakes.misses(seen, _upright),
        mistakes.false_alarms(seen, _upright),
    )


def _upright(path: ImagePath) -> Image.Image | None:
    try:
        return images.decode(bytes_of(path)).upright()
    except images.UnreadableError:
        return None
