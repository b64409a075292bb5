"""The conductor of `mlcycle evaluate --page`: an outcome → its page, with pictures of the worst mistakes."""

from __future__ import annotations

from PIL import Image

from mlcycle.datasets.member import PhotoPath
from mlcycle.inference.decoding import images
from mlcycle.reporting import mistakes, page
from mlcycle.workflows.evaluate import Evaluation
from mlcycle.workflows.predictions import bytes_of


def render(outcome: Evaluation) -> str:
    """Returns the page as HTML; of a photograph that cannot be read there is no picture."""
    found = [(each.boxes_M4, each.scores_M) for each in outcome.answers]
    seen = mistakes.Seen(outcome.photographs, found, outcome.matches, outcome.figures.balanced.threshold)
    return page.render(
        outcome.figures,
        outcome.matches,
        mistakes.misses(seen, _upright),
        mistakes.false_alarms(seen, _upright),
    )


def _upright(path: PhotoPath) -> Image.Image | None:
    try:
        return images.decode(bytes_of(path)).upright()
    except images.UnreadableError:
        return None
