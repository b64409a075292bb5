"""Small files with inconsistent headers or excessive contents, each with the expected result."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from odd_files import encoded, png_chunk, tiff, turned
from PIL import Image

READ = "read"
HUGE = 13_000  # a side that --max-pixels allows: 169 megapixels
ORIENTATION = 0x0112

Case = tuple[str, bytes, str]


def inconsistent_files(scene_HW3: np.ndarray) -> Iterator[Case]:
    """Yields a name, the bytes, and READ or the code of the record's error."""
    image = Image.fromarray(scene_HW3)
    yield from _other_files()
    yield from _sizes(image)
    yield from _exif(image)
    yield from _metadata(image)
    yield from _pieces(image)


def _other_files() -> Iterator[Case]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photo.jpg", "no image either")
    yield "nothing.jpg", b"", "empty"
    yield "byte.png", b"\xff", "not-an-image"
    yield "start.jpg", b"\xff\xd8\xff", "not-an-image"
    yield "zeros.tif", bytes(4096), "not-an-image"
    yield "text.gif", b"Dear diary,\n" * 50, "not-an-image"
    yield "page.jpg", b"<!DOCTYPE html><html><img src='photo.jpg'></html>", "not-an-image"
    yield "archive.webp", archive.getvalue(), "not-an-image"
    yield "document.jpg", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", "not-an-image"
    yield "drawing.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "unsupported"
    yield "layers.jpg", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(500), "unsupported"
    yield "video.jpg", struct.pack(">I", 24) + b"ftypisom\0\0\2\0isomiso2" + bytes(500), "unsupported"
    yield "video.png", b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1" + bytes(500), "not-an-image"


def _sizes(image: Image.Image) -> Iterator[Case]:
    """Headers that declare 169 megapixels with hardly any data, and images of odd sizes."""
    wide, high = struct.pack("<HH", HUGE, HUGE), struct.pack(">HH", HUGE, HUGE)
    jpeg, progressive = encoded(image, "JPEG"), encoded(image, "JPEG", progressive=True)
    yield "size.jpg", _changed(jpeg, b"\xff\xc0", 5, high), "damaged"
    yield "size-progressive.jpg", _changed(progressive, b"\xff\xc2", 5, high), "damaged"
    yield "size.gif", _changed(encoded(image.convert("L"), "GIF"), b"GIF8", 6, wide), "damaged"
    yield "size.png", png(HUGE, HUGE, zlib.compress(bytes(500))), "truncated"
    yield "size.bmp", _changed(encoded(image, "BMP"), b"BM", 18, struct.pack("<ii", HUGE, HUGE)), "damaged"
    yield "size.tga", struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, HUGE, HUGE, 24, 0) + bytes(99), "damaged"
    yield "size.qoi", b"qoif" + struct.pack(">IIBB", HUGE, HUGE, 4, 0) + b"\xfd" * 99, "damaged"
    yield "slow.qoi", b"qoif" + struct.pack(">IIBB", HUGE, HUGE, 4, 0) + bytes(60_000), "too-large"
    yield "size.ppm", b"P6 %d %d 255\n" % (HUGE, HUGE) + bytes(99), "damaged"
    yield "beyond.ppm", b"P6 99999 99999 255\n" + bytes(99), "too-large"
    yield "size.tif", tiff(_grey(HUGE, HUGE) | {278: [HUGE], 273: [8], 279: [9]}, bytes(9)), "truncated"
    webp = encoded(image, "WEBP", rest=[Image.new("RGB", image.size)])
    yield "size.webp", _changed(webp, b"VP8X", 12, struct.pack("<I", HUGE)[:3] * 2), "damaged"
    if "AVIF" in Image.SAVE:
        avif = encoded(image, "AVIF", speed=10)
        yield "size.avif", _changed(avif, b"ispe", 8, struct.pack(">II", HUGE, HUGE)), "damaged"
        yield "cut.avif", avif[:200], "damaged"
    yield "size.j2k", _codestream(HUGE, HUGE, HUGE), "damaged"
    still = encoded(Image.new("RGB", (HUGE, 8)), "PNG")
    yield "row.png", still, READ
    yield "beyond.png", png(2**31 - 1, 2**31 - 1, b""), "too-large"
    icon = png(20_000, 20_000, zlib.compress(bytes(99)))
    yield "image.ico", struct.pack("<HHHBBBBHHII", 0, 1, 1, 32, 32, 0, 0, 1, 32, len(icon), 22) + icon, "too-large"


def _exif(image: Image.Image) -> Iterator[Case]:
    """EXIF that cannot be parsed is ignored, and the image is read."""
    for number in (0, 9, 65535):
        yield f"orientation-{number}.jpg", encoded(image, "JPEG", exif=turned(number)), READ
    whole = turned(6).tobytes()
    yield "cut.jpg", encoded(image, "JPEG", exif=whole[:17]), READ
    one = struct.pack("<2sHIH", b"II", 42, 8, 1)
    yield (
        "loop.jpg",
        encoded(image, "JPEG", exif=b"Exif\0\0" + one + _entry(ORIENTATION, 3, 1, 1) + one[4:8]),
        READ,
    )
    much = b"Exif\0\0" + one + _entry(ORIENTATION, 3, 2**32 - 1, 8) + bytes(4)
    yield "count.jpg", encoded(image, "JPEG", exif=much), READ
    yield "count.webp", encoded(image, "WEBP", exif=much), READ
    again = struct.pack("<2sHIH", b"II", 42, 8, 5000) + b"".join(_entry(tag, 7, 60_000, 8) for tag in range(5000))
    yield "again.jpg", encoded(image, "JPEG", exif=b"Exif\0\0" + again + bytes(5)), "too-large"
    yield "again.png", png(8, 8, zlib.compress(bytes(200)), (b"eXIf", again + bytes(5))), READ
    body = b"\xff\xe1" + struct.pack(">H", 65_008) + b"Exif\0\0" + bytes(65_000)
    yield "much.jpg", b"\xff\xd8" + body * 65 + encoded(image, "JPEG")[2:], "too-large"


def _metadata(image: Image.Image) -> Iterator[Case]:
    """Texts and profiles that inflate to megabytes are ignored; excessive numbers of segments are refused."""
    bomb = zlib.compress(bytes(3_000_000), 9)
    pixels = zlib.compress(bytes(200))
    for name, body in ((b"iCCP", b"k\0\0"), (b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0")):
        yield f"bomb-{name.decode()}.png", png(8, 8, pixels, (name, body + bomb)), READ
    yield "chunks.png", png(8, 8, pixels, *[(b"tEXt", b"a\0b")] * 100_001), "too-large"
    jpeg, start = encoded(image, "JPEG"), b"\xff\xd8"
    yield "segments.jpg", start + b"\xff\xe5\0\2" * 20_001 + jpeg[2:], "too-large"
    yield "between.jpg", start + b"\xff" * 1_100_000 + jpeg[2:], "too-large"
    gif = encoded(image.convert("L"), "GIF")
    frame = _palette_end(gif)
    yield "comment.gif", gif[:frame] + b"!\xfe" + (b"\xff" + bytes(255)) * 4200 + b"\0" + gif[frame:], "too-large"
    yield "comments.pgm", b"P2 9 9 255\n" + b"#\n" * 1001 + b"0 " * 81, "too-large"


def _pieces(image: Image.Image) -> Iterator[Case]:
    """More frames, pages, tiles and scans than a real image has."""
    gif = encoded(Image.new("L", (1, 1)), "GIF")
    frame = _palette_end(gif)
    yield "frames.gif", gif[:frame] + gif[frame:-1] * 20_000 + b";", READ
    *head, scan = encoded(image.convert("L"), "JPEG", progressive=True).split(b"\xff\xda")
    yield "scans.jpg", b"\xff\xda".join([*head, *[scan[:-2]] * 101]) + b"\xff\xd9", "too-large"
    yield "tiles.j2k", _codestream(255, 255, 1), "too-large"
    strip = zlib.compress(bytes(100))
    tiles = {259: [8], 324: [8], 325: [len(strip)]}
    yield "tile.tif", tiff(_grey(10, 10) | tiles | {322: [46_000], 323: [46_000]}, strip), "too-large"
    strips = {273: [8] * 200_001, 279: [1] * 200_001, 278: [1]}
    yield "strips.tif", tiff(_grey(10, 10) | strips, bytes(8)), "too-large"
    page = tiff(_grey(10, 10) | {278: [10], 273: [8], 279: [100]}, bytes(100))
    yield "short.tif", tiff(_grey(10, 900) | {278: [10], 273: [8], 279: [100]}, bytes(100)), "truncated"
    yield "loop.tif", page[:-4] + page[4:8], READ
    chain = range(len(page) + 6, len(page) + 6 * 20_000, 6)
    yield "pages.tif", page[:-4] + b"".join(struct.pack("<IH", at - 6, 0) for at in chain) + bytes(4), "too-large"


def png(width: int, height: int, pixels: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Returns a PNG of 8-bit colours with these compressed pixels, and more chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in chunks)


def _palette_end(gif: bytes) -> int:
    return 13 + (3 << (gif[10] & 7) + 1)


def _grey(width: int, height: int) -> dict[int, list[int]]:
    return {256: [width], 257: [height], 258: [8], 259: [1], 262: [1], 277: [1]}


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def _codestream(width: int, height: int, tile: int) -> bytes:
    """Returns a JPEG 2000 of one tile whose header declares more tiles."""
    data = encoded(Image.new("L", (64, 64)), "JPEG2000", no_jp2=True)
    return data[:8] + struct.pack(">8I", width, height, 0, 0, tile, tile, 0, 0) + data[40:]


def _changed(data: bytes, marker: bytes, offset: int, new: bytes) -> bytes:
    at = data.index(marker) + offset
    return data[:at] + new + data[at + len(new) :]
