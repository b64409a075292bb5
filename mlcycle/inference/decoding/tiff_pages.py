"""The pages of a TIFF: where each begins, found without reading any of them."""

from __future__ import annotations

import io
import mmap
import struct
from dataclasses import dataclass
from typing import BinaryIO

from mlcycle.errors import UnreadableError

# A file of more pages is refused: a chain of directories costs its maker fourteen bytes a page.
MOST = 10_000
_SUBFILE_TYPE = 254
# An image made smaller, or a mask, that belongs to another page of the file.
_NO_PAGE = 1 | 4


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the numbers of a TIFF are written: struct's letter of the byte order, and sizes in bytes."""

    order: str
    offset: str
    count: str
    entry: int
    first: int

    def number(self, file: BinaryIO, place: int, letter: str) -> int:
        """Reads a number of the type that struct has this letter for; raises struct.error beyond the file."""
        form = self.order + letter
        if place > file.seek(0, io.SEEK_END):
            raise struct.error  # farther away the system would not even look
        file.seek(place)
        return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def offsets(file: BinaryIO) -> list[int]:
    """Returns where the directory of each page begins; of a file that is no TIFF, and of one without pages, none.

    The chain of pages ends where it leads back to one of them. Where it leads to nothing, that counts as a page, which
    then cannot be decoded. Images made smaller and masks, which say so themselves, are no pages.

    Raises:
        UnreadableError: too-large, there are more than MOST.
    """
    layout = _layout(_head(file))
    if layout is None:
        return []
    found: list[int] = []
    met: set[int] = set()
    try:
        offset = layout.number(file, layout.first, layout.offset)
        while offset and offset not in met:
            if len(met) == MOST:
                raise UnreadableError("too-large", f"it has more than {MOST:,} pages")
            met.add(offset)
            found.append(offset)
            entries = layout.number(file, offset, layout.count)
            if entries and _is_no_page(file, offset, layout):
                found.pop()
            end = offset + struct.calcsize("=" + layout.count) + entries * layout.entry
            offset = layout.number(file, end, layout.offset)
    except struct.error:
        pass
    return found


def first_at(file: BinaryIO, offset: int) -> Mapped | io.BytesIO:
    """Returns a TIFF as if it began with the page at `offset`, so that a decoder reads nothing of those before it.

    It can be read like a file, and its `getvalue` gives its bytes, or what reads like them.
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
    """A file's bytes as they lie on the disk; what is written into them stays in memory."""

    def getvalue(self) -> Mapped:
        return self  # Pillow hands this on to libtiff; else it would read the whole file into memory


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


def _is_no_page(file: BinaryIO, offset: int, layout: _Layout) -> bool:
    # Entries are sorted, and no tag that is in use comes before this one.
    entry = offset + struct.calcsize("=" + layout.count)
    if layout.number(file, entry, "H") != _SUBFILE_TYPE:
        return False
    value = entry + layout.entry - struct.calcsize("=" + layout.offset)
    short = layout.number(file, entry + 2, "H") == 3
    return bool(layout.number(file, value, "H" if short else "I") & _NO_PAGE)
