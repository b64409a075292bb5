"""The conductor of files that hold several pictures: the pages of a TIFF."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mlcycle.inference import pages, reading
from mlcycle.inference.record import Part, Source

_TIFF = (".tif", ".tiff")


def split(sources: Iterable[Source]) -> Iterator[Source]:
    """Gives each page of a TIFF that has several as a source of its own, and all else as it is.

    A file counts as a TIFF by its suffix, and bytes without a file by how they begin. One whose pages cannot be counted
    is passed on, and gives its error when it is looked at.
    """
    for source in sources:
        offsets = _page_offsets(source)
        if len(offsets) < 2:
            yield source
            continue
        for number, offset in enumerate(offsets, 1):
            yield replace(source, part=Part("page", number, len(offsets)), offset=offset)


def _page_offsets(source: Source) -> list[int]:
    if source.data is None and source.path.suffix.lower() not in _TIFF:
        return []
    try:
        with reading.opened(source.path) if source.data is None else io.BytesIO(source.data) as file:
            return pages.offsets(file)
    except reading.UnreadableError:
        return []
