"""Finds the pages of a TIFF without decoding them."""

from __future__ import annotations

import io
import mmap
import struct
from dataclasses import dataclass
from typing import BinaryIO

from mlcycle.errors import UnreadableError

# A file with more pages is refused: a hostile chain of directories needs only fourteen bytes per page.
MAX_PAGES = 10_000
_SUBFILE_TYPE = 254
# Flags of a reduced image or a mask that belongs to another page of the file.
_NOT_A_PAGE = 1 | 4


@dataclass(frozen=True, slots=True)
class _Layout:
    """The byte order (as in struct) of a TIFF, the struct types of its numbers, and sizes in bytes."""

    order: str
    offset: str
    count: str
    entry: int
    first: int

    def number(self, file: BinaryIO, offset: int, letter: str) -> int:
        """Reads a number of a struct type; raises struct.error beyond the end of the file."""
        form = self.order + letter
        if offset > file.seek(0, io.SEEK_END):
            raise struct.error  # the system refuses to seek to very large offsets
        file.seek(offset)
        return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def offsets(file: BinaryIO) -> list[int]:
    """Returns the offset of each page's directory; none for a file that is not a TIFF or has no pages.

    The chain of pages ends if it loops. An offset outside the file counts as a page, which then cannot be decoded.
    Reduced images and masks, which have flags, are not pages.

    Raises:
        UnreadableError: too-large, more than MAX_PAGES pages.
    """
    layout = _layout(_head(file))
    if layout is None:
        return []
    found: list[int] = []
    seen: set[int] = set()
    try:
        offset = layout.number(file, layout.first, layout.offset)
        while offset and offset not in seen:
            if len(seen) == MAX_PAGES:
                raise UnreadableError("too-large", f"it has more than {MAX_PAGES:,} pages")
            seen.add(offset)
            found.append(offset)
            entries = layout.number(file, offset, layout.count)
            if entries and _is_reduced_or_mask(file, offset, layout):
                found.pop()
            end = offset + struct.calcsize("=" + layout.count) + entries * layout.entry
            offset = layout.number(file, end, layout.offset)
    except struct.error:
        pass
    return found


def first_at(file: BinaryIO, offset: int) -> Mapped | io.BytesIO:
    """Returns a TIFF whose first page is the one at `offset`, so that a decoder skips the pages before it.

    It is readable like a file, and its `getvalue` returns its bytes or a bytes-like object.
    """
    layout = _layout(_head(file))
    assert layout is not None
    view: Mapped | io.BytesIO
    if isinstance(file, io.BytesIO):
        view = io.BytesIO(file.getvalue())
    else:
        view = Mapped(file.fileno(), 0, access=mmap.ACCESS_COPY)
    view.seek(layout.first)
    view.write(struct.pack(layout.order + layout.offset, offset))
    view.seek(0)
    return view


class Mapped(mmap.mmap):
    """A file mapped into memory; writes stay in memory."""

    def getvalue(self) -> Mapped:
        return self  # Pillow passes it to libtiff; else it would read the whole file into memory


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(4)


def _layout(head: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 4:
        return None
    (magic,) = struct.unpack(order + "H", head[2:4])
    if magic == 42:
        return _Layout(order, "I", "H", entry=12, first=4)
    return _Layout(order, "Q", "Q", entry=20, first=8) if magic == 43 else None


def _is_reduced_or_mask(file: BinaryIO, offset: int, layout: _Layout) -> bool:
    # Entries are sorted, and this tag is the lowest one in use.
    entry = offset + struct.calcsize("=" + layout.count)
    if layout.number(file, entry, "H") != _SUBFILE_TYPE:
        return False
    value = entry + layout.entry - struct.calcsize("=" + layout.offset)
    short = layout.number(file, entry + 2, "H") == 3
    return bool(layout.number(file, value, "H" if short else "I") & _NOT_A_PAGE)
