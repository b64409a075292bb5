"""The images on the page of an evaluation: what was missed, and what was taken for a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

KEY = "<span><i class=label></i>labelled</span> <span><i class=found></i>found</span>"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image: its bytes as a data URI, a line that says what it shows, and where it is from."""

    uri: str
    caption: str
    source: str


def misses(images: Sequence[Thumbnail], threshold: float) -> str:
    """Returns the section of the faces that no box with a score of `threshold` fits; nothing without an image."""
    if not images:
        return ""
    return f"""<h2>The largest faces it missed</h2>
<p class=key>No box with a score of {threshold:.2f} or more fits them at IoU 0.5; the scores are of
boxes below that do.
{KEY}</p>
{_gallery(images)}"""


def false_alarms(images: Sequence[Thumbnail]) -> str:
    """Returns the section of the detections of nothing; nothing without an image."""
    if not images:
        return ""
    return f"""<h2>The false alarms it was surest of</h2>
<p class=key>Boxes with the highest scores that fit no label. Some are faces that nobody labelled.
{KEY}</p>
{_gallery(images)}"""


def _gallery(images: Sequence[Thumbnail]) -> str:
    shown = "\n".join(
        f'<figure><img loading="lazy" width="208" height="208" alt="{escape(each.caption)}" src="{each.uri}">'
        f'<figcaption>{escape(each.caption)}<small title="{escape(each.source)}">'
        f"{escape(each.source.rpartition('/')[2])}</small></figcaption></figure>"
        for each in images
    )
    return f"<div class=images>\n{shown}\n</div>"
