"""The layout of image file formats: just enough to count their parts without decoding them.

Nothing here raises on a damaged file: iteration ends at the damage.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmap import mmap

PNG_START = b"\x89PNG\r\n\x1a\n"
GIF_STARTS = (b"GIF87a", b"GIF89a")
TIFF_STARTS = (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b")
JPEG_START = b"\xff\xd8"
JPEG_2000_STARTS = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")

JPEG_SCAN, JPEG_END, JPEG_EXIF, JPEG_HUFFMAN, JPEG_RESTARTS = 0xDA, 0xD9, 0xE1, 0xC4, 0xDD
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {JPEG_HUFFMAN, 0xC8, 0xCC}
# Excludes the zero stuffed after FF in image data, fill bytes FF, and restart markers.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_GIF_FRAME, _GIF_EXTENSION, _GIF_COMMENT, _GIF_END = 0x2C, 0x21, 0xFE, 0x3B
# TIFF value type → bytes per value.
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the marker of each segment of a JPEG, the marker's offset and the content's offset.

    The last one is the end after a scan; other files may follow it.
    """
    at, has_scan = len(JPEG_START), False
    while found := _JPEG_MARKER.search(data, at):
        start = found.end()
        marker = data[start - 1]
        yield marker, found.start(), start
        if marker == JPEG_END and has_scan:
            return
        has_scan |= marker == JPEG_SCAN
        at = start + int.from_bytes(data[start : start + 2])


def jpeg_frame(data: bytes) -> tuple[int, int]:
    """Returns the bits of a JPEG's channels and their number; zeros without a whole frame header."""
    body = next((body for marker, _, body in jpeg_segments(data) if marker in JPEG_FRAMES), len(data))
    return (data[body + 2], data[body + 7]) if body + 7 < len(data) else (0, 0)


def jpeg_2000_tiles(data: bytes) -> int:
    """Counts the tiles that a JPEG 2000 header divides its image into."""
    start = data.find(JPEG_2000_STARTS[0]) + 8
    if start < 8 or len(data) < start + 32:
        return 0
    right, lower, _, _, width, height, left, top = struct.unpack_from(">8I", data, start)
    return -((left - right) // max(1, width)) * -((top - lower) // max(1, height))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, start and end of each chunk of a PNG except the last."""
    at = len(PNG_START)
    while at + 8 <= len(data) and (name := data[at + 4 : at + 8]) != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield name, at, end
        at = end


def png_significant_bits(data: bytes) -> int:
    """Returns the bits of a grey PNG that its sBIT chunk calls significant; 0 without one."""
    before = takewhile(lambda chunk: chunk[0] != b"IDAT", png_chunks(data))
    return next((int.from_bytes(data[start + 8 : start + 9]) for name, start, _ in before if name == b"sBIT"), 0)


def gif_frames(data: bytes) -> tuple[int, int]:
    """Returns the number of frames of a GIF and of bytes in its comments."""
    frames = comments = 0
    at = 13 + _gif_palette(data, 10)
    while at + 1 < len(data) and (kind := data[at]) != _GIF_END:
        start = at
        if kind == _GIF_FRAME:
            frames += 1
            at = _gif_blocks_end(data, at + 11 + _gif_palette(data, at + 9))
        elif kind == _GIF_EXTENSION:
            at = _gif_blocks_end(data, at + 2)
            comments += at - start if data[start + 1] == _GIF_COMMENT else 0
        else:
            at += 1
    return frames, comments


def _gif_palette(data: bytes, at: int) -> int:
    flags = data[at] if at < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _gif_blocks_end(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def tiff_directories(data: bytes | mmap) -> Iterator[tuple[int, int]]:
    """Yields the start and end of the entries of each page of a TIFF, or of EXIF; a loop of pages ends."""
    seen: set[int] = set()
    _, big = _tiff_kind(data)
    at = _tiff_number(data, 8 if big else 4, "I")
    while at and at not in seen:
        seen.add(at)
        count = _tiff_number(data, at, "H")
        start = at + (8 if big else 2)
        end = start + count * (20 if big else 12)
        if end > len(data):
            return
        yield start, end
        at = _tiff_number(data, end, "I")


def tiff_entries(data: bytes | mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields type, number of values and bytes of each entry; 0 bytes for values stored inline or outside the file."""
    order, big = _tiff_kind(data)
    for kind, count, offset in struct.iter_unpack(order + ("2xHQQ" if big else "2xHII"), data[start:end]):
        size = count * _TIFF_SIZES.get(kind, 0)
        # Values no larger than the offset field are stored in it.
        yield kind, count, size if (8 if big else 4) < size <= len(data) - offset else 0


def _tiff_number(data: bytes | mmap, at: int, kind: str) -> int:
    """Reads a number of a struct type, or of eight bytes in a BigTIFF; 0 beyond the end of the file."""
    order, big = _tiff_kind(data)
    form = order + ("Q" if big else kind)
    if at + struct.calcsize(form) > len(data):
        return 0
    return struct.unpack_from(form, data, at)[0]


def _tiff_kind(data: bytes | mmap) -> tuple[str, bool]:
    return "<" if data[:1] == b"I" else ">", b"\x2b" in data[2:4]
