"""The conductor of `mlcycle evaluate --page`: an outcome → its page, with images of the worst mistakes."""

from __future__ import annotations

from PIL import Image

from mlcycle.datasets.member import ImagePath
from mlcycle.inference.decoding import images
from mlcycle.reporting import mistakes, page
from mlcycle.workflows.evaluate import Evaluation
from mlcycle.workflows.predictions import bytes_of


def render(outcome: Evaluation) -> str:
    """Returns the page as HTML; of an image that cannot be read there is no image."""
    found = [(each.boxes_M4, each.scores_M) for each in outcome.answers]
    seen = mistakes.Seen(outcome.images, found, outcome.matches, outcome.metrics.balanced.threshold)
    return page.render(
        outcome.metrics,
        outcome.matches,
        mistakes.misses(seen, _upright),
        mistakes.false_alarms(seen, _upright),
    )


def _upright(path: ImagePath) -> Image.Image | None:
    try:
        return images.decode(bytes_of(path)).upright()
    except images.UnreadableError:
        return None
