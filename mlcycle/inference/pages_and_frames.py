"""The conductor for files that hold several images: the pages of a TIFF and the frames of a video."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import reading, tiff_pages
from mlcycle.inference.record import VIDEO_SUFFIXES, FinishedRecords, Part, Record, Source, unreadable

if TYPE_CHECKING:
    from mlcycle.inference.detect import DetectOptions, Detector

    DetectImages = Callable[[Iterable[Source], DetectOptions], Iterator[Record]]

_TIFF = (".tif", ".tiff")


def split_pages(sources: Iterable[Source]) -> Iterator[Source]:
    """Yields each page of a multi-page TIFF as a source of its own, and every other source unchanged.

    A file is taken for a TIFF by its suffix, bytes without a file by their first bytes. A file whose pages cannot be
    counted stays one source, whose record has the error.
    """
    for source in sources:
        try:
            offsets = _page_offsets(source)
        except UnreadableError as problem:
            yield unreadable(source, problem)
            continue
        if len(offsets) < 2:
            yield source
            continue
        for number, offset in enumerate(offsets, 1):
            yield replace(source, part=Part("page", number, len(offsets)), offset=offset)


def is_video(source: Source) -> bool:
    """Returns whether a file is a video, by its suffix."""
    return source.data is None and source.path.suffix.lower() in VIDEO_SUFFIXES


def detect_sources(
    detector: Detector,
    sources: Iterable[Source],
    options: DetectOptions,
    *,
    every: float = 0.0,
    finished: FinishedRecords | None = None,
    detect_images: DetectImages | None = None,
) -> Iterator[Record]:
    """Yields the records of images, and of the frames of videos, in order.

    Args:
        every: seconds between analysed frames; 0 analyses every frame.
        finished: records of earlier images, which are skipped.
        detect_images: replaces the detector for images; it may yield their records in any order.
    """
    detect_images = detect_images or detector.detect_all
    for are_videos, group in groupby(sources, is_video):
        if not are_videos:
            yield from detect_images((each for each in group if not (finished and finished.has(each))), options)
            continue
        from mlcycle.inference.video.detect_video import detect_video

        for video in group:
            yield from detect_video(detector, video, options, every=every, finished=finished)


def _page_offsets(source: Source) -> list[int]:
    if source.data is None and source.path.suffix.lower() not in _TIFF:
        return []
    with reading.open_file(source.path) if source.data is None else io.BytesIO(source.data) as file:
        return tiff_pages.offsets(file)
