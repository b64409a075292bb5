"""Refuses files whose headers would cost excessive time or memory to decode.

Pillow limits the number of pixels and little else: a megabyte can declare a hundred thousand pages, each of which is
read, or an image of 10 x 10 pixels with a tile of gigabytes. The limits are far above those of real images;
docs/odd-images.md lists them.
"""

from __future__ import annotations

import math
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageFile

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import layout

if TYPE_CHECKING:
    from mmap import mmap

PNG_CHUNKS = 100_000
GIF_COMMENTS = 2**20
JPEG_SEGMENTS = 20_000
JPEG_SCANS = 100
JPEG_2000_TILES = 20_000
TIFF_VALUES = 200_000
PAGES = 100_000
PPM_COMMENTS = 1_000
# Pillow decodes some formats in Python, at a second or two per megapixel.
SLOW_PIXELS = 2**24
_SLOW = ("bmp_rle", "ppm", "ppm_plain", "qoi")

# The maximum number of pixels per byte of a file. A JPEG has at least a bit for each 8 x 8 pixels. A PNG or TIFF may be
# an empty page, and decoders detect truncation. Decoders of other formats fill missing pixels with grey; an empty area
# may need hardly any bytes, so their limit applies to large images only.
_PIXELS_PER_BYTE = {"JPEG": 512, "MPO": 512, "PNG": math.inf, "TIFF": math.inf}
_OTHER_PIXELS_PER_BYTE = 4000
_LARGE = 2**24

# The maximum memory of decoding: a progressive JPEG is buffered until its last scan, and JPEG 2000 uses four bytes for
# each channel of a pixel.
BYTES_PER_PIXEL = 25
_BYTES_PER_PIXEL_OF_JPEG = 8
_BYTES_PER_PIXEL_OF_PROGRESSIVE = 12

# TIFF types that Pillow keeps as bytes; each value of another type becomes an object.
_TIFF_BYTES = (1, 2, 6, 7)
_TIFF_TILE_SIDES = (322, 323)
# A compressed chunk of this size may inflate to more than a megabyte, Pillow's limit: deflate's maximum ratio is 1,032.
_MAX_PNG_COMPRESSED = 2**20 // 1032


def check_file(data: bytes) -> None:
    """Checks a file's limits before Pillow opens it; truncated files and other files are left to Pillow.

    Raises:
        UnreadableError: too-large.
    """
    if data.startswith(layout.JPEG_START):
        _check_jpeg(data)
    elif data.startswith(layout.PNG_START):
        others = sum(name not in (b"IDAT", b"fdAT") for name, _, _ in layout.png_chunks(data))
        refuse_above(PNG_CHUNKS, others, "chunks other than its pixels")
    elif data.startswith(layout.GIF_STARTS):
        refuse_above(GIF_COMMENTS, layout.gif_frames(data)[1], "bytes of comments")
    elif data.startswith(layout.TIFF_STARTS):
        check_tags(data)
    elif data.startswith(layout.JPEG_2000_STARTS):
        refuse_above(JPEG_2000_TILES, layout.jpeg_2000_tiles(data), "tiles")
    elif data.startswith((b"P1", b"P2", b"P3")):
        refuse_above(PPM_COMMENTS, data.count(b"#"), "comments")


def check_tags(data: bytes | mmap) -> None:
    """Checks the tags of a TIFF's first page, or of EXIF; Pillow reads the values of all of them.

    Raises:
        UnreadableError: too-large.
    """
    for start, end in islice(layout.tiff_directories(data), 1):
        total = 0
        for kind, count, size in layout.tiff_entries(data, start, end):
            values = count if size and kind not in _TIFF_BYTES else 0
            refuse_above(TIFF_VALUES, values, "strips, tiles or other values in one tag")
            total += size
        refuse_above(4 * len(data), total, "bytes in its tags, which refer to the same bytes repeatedly")


def check_image(image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    """Checks an image that Pillow has opened and not yet decoded.

    Raises:
        UnreadableError: too-large, damaged or truncated.
    """
    width, height = image.size
    check_size(width, height, max_pixels)
    format, known = image.format or "", image.format in _PIXELS_PER_BYTE
    plausible = _PIXELS_PER_BYTE.get(format, _OTHER_PIXELS_PER_BYTE) * len(data)
    if width * height > (plausible if known else max(plausible, _LARGE)):
        message = f"its header declares {width} x {height} pixels, which {len(data):,} bytes cannot hold"
        raise UnreadableError("damaged", message)
    if width * height > SLOW_PIXELS and image.tile and image.tile[0][0] in _SLOW:
        message = f"{format} files of this type are read up to {SLOW_PIXELS:,} pixels"
        raise UnreadableError("too-large", message, "save it as JPEG or PNG")
    if format == "TIFF":
        _check_tiles(image, max_pixels)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises UnreadableError (too-large) if an image has more than `max_pixels` pixels."""
    if width * height > max_pixels:
        message = f"it has {width} x {height} pixels, more than {max_pixels:,}"
        raise UnreadableError("too-large", message, "raise --max-pixels if you trust it")


def refuse_above(limit: int, count: int, what: str) -> None:
    """Raises UnreadableError (too-large) if a count is above its limit."""
    if count > limit:
        raise UnreadableError("too-large", f"it has more than {limit:,} {what}")


def _check_tiles(image: ImageFile.ImageFile, max_pixels: int) -> None:
    refuse_above(max_pixels, _tile_pixels(getattr(image, "tag_v2", {})), "pixels in each tile")
    tiles = [tile[1] for tile in image.tile if tile[1]]
    if sum((right - left) * (lower - top) for left, top, right, lower in tiles) < image.width * image.height:
        raise UnreadableError("truncated", "its strips end before the image does")


def bytes_needed(image: Image.Image, full_size: tuple[int, int]) -> int:
    """Returns the maximum memory for decoding an image; `full_size` is its size before a reduced scale was chosen."""
    if "progressive" in image.info:
        return _BYTES_PER_PIXEL_OF_PROGRESSIVE * full_size[0] * full_size[1]
    per_pixel = _BYTES_PER_PIXEL_OF_JPEG if image.format in ("JPEG", "MPO") else BYTES_PER_PIXEL
    return per_pixel * image.width * image.height


def is_exif_safe(exif: bytes) -> bool:
    """Returns whether EXIF may be parsed: its tags do not refer to the same bytes repeatedly."""
    try:
        check_tags(exif.removeprefix(b"Exif\0\0"))
    except UnreadableError:
        return False
    return True


def count_images(image: Any, data: bytes) -> int:
    """Returns the number of pages, frames or images in a file; of a TIFF at most PAGES.

    Pillow counts the pages of a TIFF in quadratic time, which may take hours.
    """
    if image.format == "TIFF":
        return sum(1 for _ in islice(layout.tiff_directories(data), PAGES))
    return layout.gif_frames(data)[0] if image.format == "GIF" else getattr(image, "n_frames", 1)


def without_large_chunks(data: bytes) -> bytes:
    """Returns a PNG without colour profiles and compressed texts that could inflate to more than a megabyte.

    Pillow would refuse the whole image for one of them. Other files, and most PNGs, are returned unchanged.
    """
    if not data.startswith(layout.PNG_START):
        return data
    kept, since = [], 0
    for name, start, end in layout.png_chunks(data):
        if (
            name in (b"iCCP", b"zTXt", b"iTXt")
            and end - start > _MAX_PNG_COMPRESSED
            and _is_compressed(name, data[start:end])
        ):
            kept.append(data[since:start])
            since = end
    return b"".join([*kept, data[since:]]) if kept else data


def _check_jpeg(data: bytes) -> None:
    """Checks the segments before the image: Pillow keeps each of them, and joins those with EXIF."""
    between, end, exif = 0, len(layout.JPEG_START), []
    before = takewhile(lambda segment: segment[0] != layout.JPEG_SCAN, layout.jpeg_segments(data))
    for number, (marker, start, body) in enumerate(before, 1):
        refuse_above(JPEG_SEGMENTS, number, "segments before its image")
        between += start - end
        end = body + int.from_bytes(data[body : body + 2])
        if marker == layout.JPEG_EXIF and data[body + 2 : body + 8] == b"Exif\0\0":
            exif.append(data[body + 8 : end])
    scan = data.find(bytes((0xFF, layout.JPEG_SCAN)), end)
    between += (scan if scan >= 0 else len(data)) - end
    refuse_above(2**20, between, "bytes between segments before its image")
    refuse_above(2**22, sum(map(len, exif)), "bytes of EXIF")
    check_tags(b"".join(exif))


def _tile_pixels(tags: Any) -> int:
    width, height = (tags.get(each, 0) for each in _TIFF_TILE_SIDES)
    if not isinstance(width, int) or not isinstance(height, int):
        raise UnreadableError("damaged", "its tiles have no size")
    return width * height


def _is_compressed(name: bytes, chunk: bytes) -> bool:
    # In iTXt the byte after the keyword and a zero is the compression flag.
    return name != b"iTXt" or chunk[chunk.find(b"\0", 8) + 1 :].startswith(b"\1")
