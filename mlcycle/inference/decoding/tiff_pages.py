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
# So is one whose pages have more pixels in total than both of these: all of them may be the same few bytes. A scanned
# page of text has less than a thousand pixels per byte.
MAX_TOTAL_PIXELS = 2**30
PIXELS_PER_BYTE = 2_000
# The most that a page counts: a larger one is refused by itself.
_LARGEST_PAGE = 2**28
# Entries that are read of each directory: they are sorted, and these tags are the lowest in use.
_FIRST = 4
_WIDTH, _HEIGHT = 256, 257
_LETTERS = {3: "H", 4: "I", 16: "Q"}  # of struct, by TIFF type
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

    def end(self, file: BinaryIO, offset: int) -> int:
        """Returns where the entries of a directory end."""
        return offset + struct.calcsize("=" + self.count) + self.number(file, offset, self.count) * self.entry


def offsets(file: BinaryIO) -> list[int]:
    """Returns the offset of each page's directory; none for a file that is not a TIFF or has no pages.

    The chain of pages ends if it loops. An offset outside the file counts as a page, which then cannot be decoded.
    Reduced images and masks, which have flags, are not pages.

    Raises:
        UnreadableError: too-large, more than MAX_PAGES pages, or more pixels in total than a file of its size may have.
    """
    layout = _layout(_head(file))
    if layout is None:
        return []
    found: list[int] = []
    seen: set[int] = set()
    pixels, limit = 0, max(MAX_TOTAL_PIXELS, PIXELS_PER_BYTE * file.seek(0, io.SEEK_END))
    try:
        offset = layout.number(file, layout.first, layout.offset)
        while offset and offset not in seen:
            if len(seen) == MAX_PAGES:
                raise UnreadableError("too-large", f"it has more than {MAX_PAGES:,} pages")
            seen.add(offset)
            found.append(offset)
            tags = _first_tags(file, offset, layout)
            if tags.get(_SUBFILE_TYPE, 0) & _NOT_A_PAGE:
                found.pop()
            else:
                pixels += min(_LARGEST_PAGE, tags[_WIDTH] * tags[_HEIGHT])
            if pixels > limit:
                raise UnreadableError("too-large", f"its pages have more than {limit:,} pixels in total")
            offset = layout.number(file, layout.end(file, offset), layout.offset)
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


def _first_tags(file: BinaryIO, offset: int, layout: _Layout) -> dict[int, int]:
    """Returns the first numbers of a directory by their tags; its size is the largest if it may be among the others."""
    count = layout.number(file, offset, layout.count)
    at = offset + struct.calcsize("=" + layout.count)
    value = layout.entry - struct.calcsize("=" + layout.offset)
    tags: dict[int, int] = {}
    for entry in range(at, at + min(count, _FIRST) * layout.entry, layout.entry):
        if letter := _LETTERS.get(layout.number(file, entry + 2, "H")):
            tags[layout.number(file, entry, "H")] = layout.number(file, entry + value, letter)
    if not (_WIDTH in tags and _HEIGHT in tags):
        tags[_WIDTH], tags[_HEIGHT] = (_LARGEST_PAGE, 1) if count > _FIRST else (0, 0)
    return tags
