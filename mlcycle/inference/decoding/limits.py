"""What would cost time or memory out of all proportion is refused, by what a file says of itself.

Pillow limits the pixels that a header promises, and little else that a file may hold: a megabyte can name a hundred
thousand pages, each of which is read, or give an image of 10 x 10 pixels a tile of gigabytes. The limits lie far above
what images have; docs/odd-images.md lists them.
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
# Pillow decodes some formats in Python, a second or two a megapixel.
SLOW_PIXELS = 2**24
_SLOW = ("bmp_rle", "ppm", "ppm_plain", "qoi")

# Pixels that a byte of the file stands for at most. A JPEG has at least a bit for each 8 x 8 pixels. A PNG or a TIFF
# may be an empty page, and never passes for whole if it is not. Others would be filled up with grey; where nothing is
# to be seen, a byte of them can stand for any number of pixels, so this is asked of large images alone.
_PIXELS_A_BYTE = {"JPEG": 512, "MPO": 512, "PNG": math.inf, "TIFF": math.inf}
_PIXELS_A_BYTE_ELSE = 4000
_LARGE = 2**24

# What decoding takes at most, in bytes a pixel: a progressive JPEG is kept whole until its last scan, and JPEG 2000 has
# four bytes for each colour of a pixel.
BYTES_A_PIXEL = 25
_BYTES_A_PIXEL_OF_JPEG = 8
_BYTES_A_PIXEL_OF_PROGRESSIVE = 12

# Of bytes Pillow makes nothing; each value of another type becomes an object.
_TIFF_BYTES = (1, 2, 6, 7)
_TIFF_TILE_SIDES = (322, 323)
# What could unfold to more than a megabyte, of which Pillow takes no more; deflate makes 1,032 bytes of one.
_PNG_FOLDED = 2**20 // 1032


def check_file(data: bytes) -> None:
    """Looks through a file before Pillow does; what is cut short, or no image at all, is left for Pillow to find.

    Raises:
        UnreadableError: too-large.
    """
    if data.startswith(layout.JPEG_START):
        _check_jpeg(data)
    elif data.startswith(layout.PNG_START):
        others = sum(name not in (b"IDAT", b"fdAT") for name, _, _ in layout.png_chunks(data))
        _refuse_above(PNG_CHUNKS, others, "chunks beside its pixels")
    elif data.startswith(layout.GIF_STARTS):
        _refuse_above(GIF_COMMENTS, layout.gif_frames(data)[1], "bytes of comments")
    elif data.startswith(layout.TIFF_STARTS):
        check_tags(data)
    elif data.startswith(layout.JPEG_2000_STARTS):
        _refuse_above(JPEG_2000_TILES, layout.jpeg_2000_tiles(data), "tiles")
    elif data.startswith((b"P1", b"P2", b"P3")):
        _refuse_above(PPM_COMMENTS, data.count(b"#"), "comments")


def check_tags(data: bytes | mmap) -> None:
    """Looks at the tags of a TIFF's first page, or of EXIF: Pillow reads what each of them names.

    Raises:
        UnreadableError: too-large.
    """
    for start, end in islice(layout.tiff_directories(data), 1):
        total = 0
        for kind, count, size in layout.tiff_entries(data, start, end):
            values = count if size and kind not in _TIFF_BYTES else 0
            _refuse_above(TIFF_VALUES, values, "strips, tiles or other values in one tag")
            total += size
        _refuse_above(4 * len(data), total, "bytes in its tags, which name the same ones again and again")


def check_image(image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    """Looks at an image that Pillow has opened and not yet decoded.

    Raises:
        UnreadableError: too-large, damaged or truncated.
    """
    width, height = image.size
    check_size(width, height, max_pixels)
    format, known = image.format or "", image.format in _PIXELS_A_BYTE
    believed = _PIXELS_A_BYTE.get(format, _PIXELS_A_BYTE_ELSE) * len(data)
    if width * height > (believed if known else max(believed, _LARGE)):
        said = f"its header says {width} x {height} pixels, which {len(data):,} bytes cannot hold"
        raise UnreadableError("damaged", said)
    if width * height > SLOW_PIXELS and image.tile and image.tile[0][0] in _SLOW:
        said = f"{format} files of its kind are read up to {SLOW_PIXELS:,} pixels"
        raise UnreadableError("too-large", said, "save it as JPEG or PNG")
    if "progressive" in image.info and data.count(b"\xff\xda") > JPEG_SCANS:
        _refuse_above(JPEG_SCANS, layout.jpeg_scans(data), "scans")
    if format == "TIFF":
        _check_tiles(image, max_pixels)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises UnreadableError, too-large, if an image has more pixels than it may."""
    if width * height > max_pixels:
        said = f"it has {width} x {height} pixels, more than {max_pixels:,}"
        raise UnreadableError("too-large", said, "raise --max-pixels if you trust it")


def _check_tiles(image: ImageFile.ImageFile, max_pixels: int) -> None:
    _refuse_above(max_pixels, _tile_pixels(getattr(image, "tag_v2", {})), "pixels in each tile")
    places = [tile[1] for tile in image.tile if tile[1]]
    if sum((right - left) * (lower - top) for left, top, right, lower in places) < image.width * image.height:
        raise UnreadableError("truncated", "its strips end before its image does")


def bytes_needed(image: Image.Image, whole: tuple[int, int]) -> int:
    """Returns the memory that decoding an image takes at most; `whole` is its size, if it is to be a reduced one."""
    if "progressive" in image.info:
        return _BYTES_A_PIXEL_OF_PROGRESSIVE * whole[0] * whole[1]
    return (_BYTES_A_PIXEL_OF_JPEG if image.format in ("JPEG", "MPO") else BYTES_A_PIXEL) * image.width * image.height


def is_exif_fit(exif: bytes) -> bool:
    """Returns whether EXIF may be read: not where its tags name the same bytes again and again."""
    try:
        check_tags(exif.removeprefix(b"Exif\0\0"))
    except UnreadableError:
        return False
    return True


def count_images(image: Any, data: bytes) -> int:
    """Returns how many pages, frames or images a file has: as many as it says, or up to PAGES of a TIFF.

    Pillow counts a TIFF's pages by reading each of them, and for each looks through all before it: hours, if need be.
    """
    if image.format == "TIFF":
        return sum(1 for _ in islice(layout.tiff_directories(data), PAGES))
    return layout.gif_frames(data)[0] if image.format == "GIF" else getattr(image, "n_frames", 1)


def lightened(data: bytes) -> bytes:
    """Returns a PNG without the colour profiles and compressed texts that could unfold to more than a megabyte.

    Pillow would refuse the whole image for one that does. Other files, and most PNGs, are returned as they are.
    """
    if not data.startswith(layout.PNG_START):
        return data
    kept, since = [], 0
    for name, start, end in layout.png_chunks(data):
        if name in (b"iCCP", b"zTXt", b"iTXt") and end - start > _PNG_FOLDED and _is_compressed(name, data[start:end]):
            kept.append(data[since:start])
            since = end
    return b"".join([*kept, data[since:]]) if kept else data


def _refuse_above(limit: int, count: int, what: str) -> None:
    if count > limit:
        raise UnreadableError("too-large", f"it has more than {limit:,} {what}")


def _check_jpeg(data: bytes) -> None:
    """Looks at what is before the image: Pillow keeps each segment, and puts those with EXIF together."""
    between, end, exif = 0, len(layout.JPEG_START), []
    before = takewhile(lambda segment: segment[0] != layout.JPEG_SCAN, layout.jpeg_segments(data))
    for number, (marker, start, body) in enumerate(before, 1):
        _refuse_above(JPEG_SEGMENTS, number, "segments before its image")
        between += start - end
        end = body + int.from_bytes(data[body : body + 2])
        if marker == layout.JPEG_EXIF and data[body + 2 : body + 8] == b"Exif\0\0":
            exif.append(data[body + 8 : end])
    scan = data.find(bytes((0xFF, layout.JPEG_SCAN)), end)
    between += (scan if scan >= 0 else len(data)) - end
    _refuse_above(2**20, between, "bytes of nothing before its image")
    _refuse_above(2**22, sum(map(len, exif)), "bytes of EXIF")
    check_tags(b"".join(exif))


def _tile_pixels(tags: Any) -> int:
    width, height = (tags.get(each, 0) for each in _TIFF_TILE_SIDES)
    if not isinstance(width, int) or not isinstance(height, int):
        raise UnreadableError("damaged", "its tiles have no size")
    return width * height


def _is_compressed(name: bytes, chunk: bytes) -> bool:
    # Of iTXt the byte behind the keyword and a zero says so.
    return name != b"iTXt" or chunk[chunk.find(b"\0", 8) + 1 :].startswith(b"\1")
