"""The conductor of `mlcycle evaluate --page`: an outcome → its page, with pictures of the worst mistakes."""

from __future__ import annotations

from PIL import Image

from mlcycle import mistakes
from mlcycle.answers import bytes_of
from mlcycle.datasets.member import PhotoPath
from mlcycle.evaluation import page
from mlcycle.inference import images
from mlcycle.score import Outcome


def render(outcome: Outcome) -> str:
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
