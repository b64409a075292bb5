"""The conductor of review.html: choose images of a run, draw them small, and write the page that takes decisions.

The page shows original pixels, so only the user who ran the command can read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcycle import files
from mlcycle.errors import UnreadableError
from mlcycle.inference.batch.finished import state_of
from mlcycle.inference.batch.worker_threads import cores, ordered_map
from mlcycle.inference.record import Identity
from mlcycle.redacting import choosing, decided, passes, review_page
from mlcycle.redacting.cards import Reviewed, card_of
from mlcycle.redacting.decisions import Decision
from mlcycle.redacting.image_digest import digest_of
from mlcycle.redacting.run_images import Images

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun

DOUBTFUL, EMPTY, SAMPLE, DECIDED = choosing.KINDS
NAME = "review.html"


@dataclass(frozen=True, slots=True)
class Written:
    """What is on a page: number of images by kind, of all such images in the run, and of those that cannot be shown."""

    shown: Counter[str]
    counts: Counter[str]
    unreadable: int


def write(
    run: BatchRun, images: Images, command: str, limit: int, advance: Callable[[int], None] = lambda n: None
) -> Written:
    """Writes review.html into the folder of a run.

    Args:
        command: of the second pass, which the page shows.
        limit: number of images on the page.

    Raises:
        InputError: it cannot be written.
    """
    below = passes.all_of(run)[-1]["doubtful_below"]
    choice = choosing.choose(run, below, limit)
    max_pixels = run.settings["max-pixels"]
    reviewed = _reviewed(run, images, choice.kinds)
    cards: list[dict[str, Any]] = []
    for card in ordered_map(lambda each: _card(each, images, below, max_pixels), reviewed, cores()):
        cards += [card] if card else []
        advance(1)
    shown = Counter(card["kind"] for card in cards)
    page = {
        "run": passes.identity_of(run),
        "revision": decided.revision(run),
        "private": images.is_private,
        "command": command,
        "below": below,
        "shown": shown,
        "counts": choice.counts,
        "images": cards,
    }
    files.write(path(run), review_page.render(page), overwrite=True, mode=0o600)
    return Written(shown, choice.counts, len(choice.kinds) - len(cards))


def path(run: BatchRun) -> Path:
    """Returns where the page of a run is."""
    return run.folder / NAME


def _reviewed(run: BatchRun, images: Images, kinds: dict[Identity, str]) -> Iterator[Reviewed]:
    """Yields the images in the order of the review, except those that are gone or have changed."""
    sources, decisions = images.find(kinds), dict(decided.all_of(run))
    for identity, kind in kinds.items():
        source, record = sources.get(identity), run.find(identity)
        if source and record and state_of(source, images.conceal) == run.state(identity):
            decision = decisions[identity].decision if identity in decisions else Decision()
            yield Reviewed(source, record, kind, decision)


def _card(each: Reviewed, images: Images, below: float, max_pixels: int) -> dict[str, Any] | None:
    try:
        return card_of(each, digest_of(each.source, each.record, images.conceal), below, max_pixels)
    except UnreadableError:
        return None
