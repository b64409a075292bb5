"""The pictures on the page of an evaluation: what was missed, and what was taken for a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

KEY = "<span><i class=label></i>labelled</span> <span><i class=found></i>found</span>"


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture: its bytes as a data URI, a line that says what it shows, and where it is from."""

    uri: str
    caption: str
    source: str


def misses(pictures: Sequence[Picture], threshold: float) -> str:
    """Returns the section of the faces that no box with a score of `threshold` fits; nothing without a picture."""
    if not pictures:
        return ""
    return f"""<h2>The largest faces it missed</h2>
<p class=key>No box with a score of {threshold:.2f} or more fits them at IoU 0.5; the scores are of
boxes below that do.
{KEY}</p>
{_gallery(pictures)}"""


def false_alarms(pictures: Sequence[Picture]) -> str:
    """Returns the section of the detections of nothing; nothing without a picture."""
    if not pictures:
        return ""
    return f"""<h2>The false alarms it was surest of</h2>
<p class=key>Boxes with the highest scores that fit no label. Some are faces that nobody labelled.
{KEY}</p>
{_gallery(pictures)}"""


def _gallery(pictures: Sequence[Picture]) -> str:
    shown = "\n".join(
        f'<figure><img loading="lazy" width="208" height="208" alt="{escape(each.caption)}" src="{each.uri}">'
        f'<figcaption>{escape(each.caption)}<small title="{escape(each.source)}">'
        f"{escape(each.source.rpartition('/')[2])}</small></figcaption></figure>"
        for each in pictures
    )
    return f"<div class=pictures>\n{shown}\n</div>"
