"""The conductor of files that hold several images: the pages of a TIFF, and the frames of a video."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import reading, tiff_pages
from mlcycle.inference.record import VIDEO_SUFFIXES, Part, Record, Source, failing

if TYPE_CHECKING:
    from mlcycle.inference.detect import DetectOptions, Detector

_TIFF = (".tif", ".tiff")


def split(sources: Iterable[Source]) -> Iterator[Source]:
    """Gives each page of a TIFF that has several as a source of its own, and all else as it is.

    A file counts as a TIFF by its suffix, and bytes without a file by how they begin. One whose pages cannot be counted
    stays one source, and gives its error when it is looked at.
    """
    for source in sources:
        try:
            offsets = _page_offsets(source)
        except UnreadableError as problem:
            yield failing(source, problem)
            continue
        if len(offsets) < 2:
            yield source
            continue
        for number, offset in enumerate(offsets, 1):
            yield replace(source, part=Part("page", number, len(offsets)), offset=offset)


def is_video(source: Source) -> bool:
    """Tells whether a file counts as a video, by its suffix."""
    return source.data is None and source.path.suffix.lower() in VIDEO_SUFFIXES


def detect_all(
    detector: Detector,
    sources: Iterable[Source],
    options: DetectOptions,
    *,
    every: float = 0.0,
    known: Callable[[Source], bool] = lambda source: False,
    recall: Callable[[tuple[bytes, int]], Record] | None = None,
    look: Callable[[Iterable[Source], DetectOptions], Iterator[Record]] | None = None,
) -> Iterator[Record]:
    """Yields a record for each image, in order: those of a video are its frames, one after the other.

    Args:
        every: so many seconds are from one frame that is looked at to the next; 0 looks at all of them.
        known: tells of an image whether it need not be looked at.
        recall: gives the record of an image that is known, by its identity.
        look: what looks at all that is no video in the detector's place; it may have an order of its own.
    """
    for are_videos, some in groupby(sources, is_video):
        if not are_videos:
            yield from (look or detector.detect_all)((source for source in some if not known(source)), options)
            continue
        from mlcycle.inference.video import detect_video

        for video in some:
            yield from detect_video.watch(detector, video, options, every=every, known=known, recall=recall)


def _page_offsets(source: Source) -> list[int]:
    if source.data is None and source.path.suffix.lower() not in _TIFF:
        return []
    with reading.opened(source.path) if source.data is None else io.BytesIO(source.data) as file:
        return tiff_pages.offsets(file)
