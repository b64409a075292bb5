"""Finds damage that decoders pass over: they return an image without some of its faces, and no warning.

Of a JPEG the decoder's end is compared with that of its data, of a PNG the checksums. Other formats have neither, and
their decoders read any bytes. There a hole is found, as a broken disk or download leaves it: zeros, or erased memory's
ones, which no encoder writes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import ImageFile

from mlcycle.inference.decoding import jpeg_data, layout

DAMAGED = "its compressed data is damaged, so that faces may be missed"
# Compressed data has at most some thirty zeros on end. In JPEG 2000 each may be an empty packet, of which a blank page
# in many parts has more.
_HOLES = (bytes(256), b"\xff" * 256)
_JPEG_2000_HOLES = (bytes(2048), b"\xff" * 256)
_WEBP_IMAGES = (b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
_TIFF_COMPRESSION, _TIFF_OFFSETS, _TIFF_SIZES = 259, (273, 324), (279, 325)  # of strips or else of tiles
_TIFF_JPEG, _TIFF_DEFLATE, _TIFF_OLD_DEFLATE, _TIFF_PACKBITS, _TIFF_ZSTD = 7, 8, 32946, 32773, 50000
# Of these libtiff reads zeros as pixels; it reports them in others, and in uncompressed ones they are black.
_TIFF_COMPRESSIONS = (_TIFF_JPEG, _TIFF_DEFLATE, _TIFF_OLD_DEFLATE, _TIFF_PACKBITS, _TIFF_ZSTD)
# More than a page's strips or tiles need, compressed or not, even if a tile is larger than the page.
_TIFF_BYTES_PER_PIXEL, _TIFF_SPARE_BYTES = 16, 2**16

Part = tuple[int, int]  # start and end of compressed data in a file


def load(image: ImageFile.ImageFile, data: Any) -> bool:
    """Decodes an opened image, as `image.load` does; returns whether it is damaged nevertheless.

    Raises:
        Exception: it cannot be decoded; Pillow's decoders have many classes.
    """
    if image.format in ("JPEG", "MPO"):
        return jpeg_data.load(image, data)
    image.load()
    match image.format:
        case "PNG":
            return not _are_checksums_right(data)
        case "WEBP":
            return any(_has_hole(data, *part) for part in _webp_images(data))
        case "AVIF" | "HEIF":
            metadata = (image.info.get(each) or b"" for each in ("exif", "xmp"))  # cameras fill theirs up with zeros
            are_filled = any(_has_hole(each, 0, len(each)) for each in metadata)
            return not are_filled and any(_has_hole(data, *part) for part in _media(data))
        case "JPEG2000":
            return any(hole in data for hole in _JPEG_2000_HOLES)
        case "TIFF":
            return _is_tiff_damaged(image, data)
    return False


def _has_hole(data: Any, start: int, end: int) -> bool:
    return any(data.find(hole, start, end) >= 0 for hole in _HOLES)


def _are_checksums_right(png: bytes) -> bool:
    view = memoryview(png)
    pixels = (part for name, *part in layout.png_chunks(png) if name == b"IDAT")
    return all(zlib.crc32(view[start + 4 : end - 4]) == int.from_bytes(view[end - 4 : end]) for start, end in pixels)


def _webp_images(data: bytes) -> Iterator[Part]:
    at = 12
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] in _WEBP_IMAGES:
            yield at + 8, end
        at = end + end % 2


def _media(data: bytes) -> Iterator[Part]:
    """Yields the boxes of a HEIF or AVIF that hold compressed images, and EXIF."""
    at = 0
    while at + 16 <= len(data):
        size, start = int.from_bytes(data[at : at + 4]), 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16]), 16
        end = at + max(size, start) if size else len(data)
        if data[at + 4 : at + 8] == b"mdat":
            yield at + start, end
        at = end


def _is_tiff_damaged(image: ImageFile.ImageFile, data: Any) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    compression = tags.get(_TIFF_COMPRESSION, 1)
    if compression not in _TIFF_COMPRESSIONS:
        return False
    offsets, sizes = (next((tags[tag] for tag in pair if tag in tags), ()) for pair in (_TIFF_OFFSETS, _TIFF_SIZES))
    parts = {(at, at + size) for at, size in zip(offsets, sizes, strict=False)}
    limit = _TIFF_BYTES_PER_PIXEL * image.width * image.height + _TIFF_SPARE_BYTES
    holes = [part for part in _within(limit, parts) if _has_hole(data, *part)]
    if compression in (_TIFF_DEFLATE, _TIFF_OLD_DEFLATE):  # zeros may be a flat area, which the checksum tells
        return not _do_inflate(data, holes, limit)
    return bool(holes)


def _within(limit: int, parts: Iterable[Part]) -> Iterator[Part]:
    """Yields parts, cut to `limit` bytes in total: each of a hostile file's 200,000 may reach to its end."""
    for start, end in sorted(parts):
        size = min(end - start, limit)
        yield start, start + size
        limit -= size


def _do_inflate(data: Any, parts: list[Part], limit: int) -> bool:
    """Returns whether all parts are whole zlib streams, of at most `limit` bytes in total."""
    for start, end in parts:
        stream, rest = zlib.decompressobj(), bytes(data[start:end])
        try:
            while rest and not stream.eof and limit > 0:
                limit -= len(stream.decompress(rest, 2**20))
                rest = stream.unconsumed_tail
        except zlib.error:
            return False
        if not stream.eof:
            return False
    return True
