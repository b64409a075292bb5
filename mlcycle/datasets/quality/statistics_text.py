"""The statistics of a labelled set as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlcycle.counted import counted
from mlcycle.datasets.quality.report_text import bar
from mlcycle.datasets.quality.statistics import Statistics

GROUPS = 8
MAX_BAR = 40


def statistics_text(found: Statistics, title: str, width: int = 80) -> str:
    """Returns counts, quantiles and small histograms, as lines of at most about `width` characters."""
    lines = [title, *_counts(found), "", *_quantiles(found)]
    if found.faces:
        lines += ["", "height of faces in pixels", *_histogram(found.heights, width)]
        lines += ["", "the same, for a long side of 640 pixels", *_histogram(found.heights_at_640, width)]
        lines += ["", "width of faces over height", *_histogram(found.aspects, width)]
    if found.groups:
        lines += ["", *_groups(found)]
    return "\n".join(lines)


def _counts(found: Statistics) -> Iterator[str]:
    rows = [
        (found.images, "images"),
        (found.without_faces, "of them without a face"),
        (found.unreadable, "of them cannot be read; their sizes are not counted"),
        (found.faces, "faces"),
        (found.with_landmarks, "of them with all five landmarks"),
        (found.ignored, "boxes to be ignored"),
    ]
    return (f"{count:>9,}  {what}" for count, what in rows if count or what in ("images", "faces"))


def _quantiles(found: Statistics) -> Iterator[str]:
    rows = [
        ("faces per image", found.faces_per_image),
        ("short side, pixels", found.short_side),
        ("long side, pixels", found.long_side),
        ("height of a face", found.height),
    ]
    known = [(name, quantiles) for name, quantiles in rows if quantiles]
    if known:
        yield f"{'':20}" + "".join(f"{name:>8}" for name in known[0][1])
    for name, quantiles in known:
        yield f"{name:20}" + "".join(f"{value:>8,.0f}" for value in quantiles.values())


def _histogram(counts: Mapping[str, int], width: int) -> Iterator[str]:
    most = max(counts.values(), default=0) or 1
    space = max(10, min(MAX_BAR, width - 30))
    for name, count in counts.items():
        yield f"{name:>14}  {count:>8,}  {bar(count / most, space)}".rstrip()


def _groups(found: Statistics) -> Iterator[str]:
    yield f"{counted(len(found.groups), 'group')}"
    for name, (images, faces) in list(found.groups.items())[:GROUPS]:
        yield f"{images:>9,}  {name}, {counted(faces, 'face')}"
    if len(found.groups) > GROUPS:
        yield f"{'':11}and {len(found.groups) - GROUPS:,} more; --json lists all"
