"""A fuzzer for `mlcycle infer`: a small real image in every file format, and mutants of these files by seed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import PurePath
from random import Random

import numpy as np
from PIL import Image

from mlcycle.inference.sources import SUFFIXES

# Values for numbers in headers: zero, the limits of each width, and sizes that are just plausible.
_NUMBERS = (0, 1, 2, 9, 127, 128, 255, 256, 13_000, 32_767, 32_768, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def encoded_images(scene_HW3: np.ndarray) -> dict[str, bytes]:
    """Returns name → the scene as a file of each kind; formats without an installed codec are left out."""
    colour = Image.fromarray(scene_HW3)
    grey = colour.convert("L")
    clear = colour.convert("RGBA")
    clear.putalpha(grey)
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    fractions = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    frames: dict[str, object] = {"rest": [colour.transpose(Image.Transpose.ROTATE_180), colour]}
    kinds: list[tuple[str, Image.Image, str, dict[str, object]]] = [
        ("baseline.jpg", colour, "JPEG", {"exif": turned(6)}),
        ("progressive.jpg", colour, "JPEG", {"progressive": True}),
        ("cmyk.jpg", colour.convert("CMYK"), "JPEG", {}),
        ("grey.jpeg", grey, "JPEG", {"restart_marker_blocks": 2}),
        ("pair.mpo", colour, "MPO", frames),
        ("colour.png", colour, "PNG", {"exif": turned(8)}),
        ("clear.png", clear, "PNG", {}),
        ("palette.png", colour.convert("P"), "PNG", {"transparency": 3}),
        ("bits.png", colour.convert("1"), "PNG", {}),
        ("wide.png", wide, "PNG", {}),
        ("animated.png", colour, "PNG", frames),
        ("animated.gif", colour, "GIF", frames),
        ("still.gif", grey, "GIF", {"interlace": 1}),
        ("lossy.webp", colour, "WEBP", {"exif": turned(3)}),
        ("lossless.webp", clear, "WEBP", {"lossless": True}),
        ("animated.webp", colour, "WEBP", frames),
        ("still.avif", colour, "AVIF", {"speed": 10}),
        ("animated.avif", colour, "AVIF", {"speed": 10, **frames}),
        ("strips.tif", colour, "TIFF", {"tiffinfo": {278: 16, 274: 5}}),
        ("pages.tif", colour, "TIFF", frames),
        ("lzw.tif", clear, "TIFF", {"compression": "tiff_lzw"}),
        ("deflate.tif", wide, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("jpeg.tiff", colour, "TIFF", {"compression": "jpeg"}),
        ("fax.tif", colour.convert("1"), "TIFF", {"compression": "group4"}),
        ("packed.tif", colour.convert("P"), "TIFF", {"compression": "packbits"}),
        ("cmyk.tif", colour.convert("CMYK"), "TIFF", {}),
        ("float.tif", fractions, "TIFF", {}),
        ("big.tif", colour, "TIFF", {"big_tiff": True}),
        ("colour.bmp", colour, "BMP", {}),
        ("palette.bmp", colour.convert("P"), "BMP", {}),
        ("colour.dib", colour, "DIB", {}),
        ("icon.ico", colour.resize((32, 32)), "ICO", {"sizes": [(16, 16), (32, 32)]}),
        ("bitmap.ico", clear.resize((32, 32)), "ICO", {"bitmap_format": "bmp", "sizes": [(32, 32)]}),
        ("boxed.jp2", colour, "JPEG2000", {"quality_layers": [20, 5]}),
        ("bare.j2k", grey, "JPEG2000", {"tile_size": (32, 32), "num_resolutions": 3, "no_jp2": True}),
        ("colour.ppm", colour, "PPM", {}),
        ("grey.pgm", grey, "PPM", {}),
        ("bits.pnm", colour.convert("1"), "PPM", {}),
        ("colour.qoi", colour, "QOI", {}),
        ("colour.sgi", colour, "SGI", {}),
        ("packed.tga", colour, "TGA", {"compression": "tga_rle"}),
        ("clear.tga", clear, "TGA", {}),
        ("colour.pcx", colour, "PCX", {}),
    ]
    Image.init()
    files = {name: encoded(image, format, **how) for name, image, format, how in kinds if format in Image.SAVE}
    return files | {"interlaced.png": interlaced(scene_HW3), "tiles.tif": tiled(np.asarray(grey))} | heic(colour)


def mutants(files: dict[str, bytes], count: int, seed: str) -> Iterator[tuple[str, bytes]]:
    """Yields damaged files with unique names; the same seed gives the same files.

    Kinds and mutations alternate, so that a few hundred files have many mutations of each kind.
    """
    kinds = sorted(files)
    for number in range(count):
        random = Random(f"{seed}/{number}")
        kind = kinds[number % len(kinds)]
        mutation = MUTATIONS[(number // len(kinds) + number) % len(MUTATIONS)]
        data = mutation(files[kind], random, files[random.choice(kinds)])
        if random.random() < 0.3:  # some are damaged in two places
            data = random.choice(MUTATIONS)(data, random, files[random.choice(kinds)])
        suffix = PurePath(random.choice(kinds) if random.random() < 0.1 else kind).suffix
        yield f"{number:05}-{PurePath(kind).stem}-{mutation.__name__.strip('_')}{suffix}", data


def encoded(image: Image.Image, format: str, *, rest: Sequence[Image.Image] = (), **options: object) -> bytes:
    """Returns an image as a file, followed by the `rest` of an animation or of pages."""
    buffer = io.BytesIO()
    # Copies, because Pillow keeps settings of one format in an image, which affect another format.
    more = {"save_all": True, "append_images": [each.copy() for each in rest]} if rest else {}
    image.copy().save(buffer, format, **options, **more)
    return buffer.getvalue()


def heic(image: Image.Image) -> dict[str, bytes]:
    """Returns an image as HEIC, if its codec is installed."""
    if ".heic" not in SUFFIXES or not find_spec("pillow_heif"):
        return {}
    from pillow_heif import from_pillow

    buffer = io.BytesIO()
    from_pillow(image).save(buffer)
    return {"still.heic": buffer.getvalue()}


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def interlaced(scene_HW3: np.ndarray) -> bytes:
    """Returns the scene as an interlaced PNG, which Pillow can read but not write."""
    height, width = scene_HW3.shape[:2]
    passes = (scene_HW3[y::down, x::across] for x, y, across, down in _ADAM7)
    rows = b"".join(b"\0" + row_W3.tobytes() for each_HW3 in passes for row_W3 in each_HW3)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in chunks)


def tiled(grey_HW: np.ndarray, side: int = 32) -> bytes:
    """Returns a grey image as a TIFF of deflated tiles, which Pillow can read but not write."""
    height, width = grey_HW.shape
    padded_HW = np.pad(grey_HW, ((0, -height % side), (0, -width % side)))
    corners = [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
    tiles = [zlib.compress(padded_HW[y : y + side, x : x + side].tobytes()) for y, x in corners]
    ends = np.cumsum([8, *map(len, tiles)]).tolist()
    tags = {256: [width], 257: [height], 258: [8], 259: [8], 262: [1], 277: [1], 322: [side], 323: [side]}
    return tiff(tags | {324: ends[:-1], 325: [len(each) for each in tiles]}, b"".join(tiles))


def tiff(tags: dict[int, list[int]], body: bytes) -> bytes:
    """Returns a TIFF with these tags, all of type LONG, and `body` at byte 8."""
    values, entries = b"", b""
    end = 8 + len(body)
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        value = packed if len(numbers) == 1 else struct.pack("<I", end + len(values))
        values += packed if len(numbers) > 1 else b""
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + value
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, end + len(values)) + body + values + directory


def _truncated(data: bytes, random: Random, other: bytes) -> bytes:
    return data[: int(len(data) * random.random())]


def _almost_whole(data: bytes, random: Random, other: bytes) -> bytes:
    return data[: -random.randint(1, 40)]


def _flipped_in_the_header(data: bytes, random: Random, other: bytes) -> bytes:
    return _flipped(data, random, random.randint(1, 6), 120)


def _flipped_in_the_body(data: bytes, random: Random, other: bytes) -> bytes:
    return _flipped(data, random, random.randint(1, 30), len(data))


def _flipped(data: bytes, random: Random, count: int, reach: int) -> bytes:
    broken = bytearray(data)
    for _ in range(count if broken else 0):
        broken[random.randrange(min(reach, len(broken)))] ^= 1 << random.randrange(8)
    return bytes(broken)


def _wrong_number(data: bytes, random: Random, other: bytes) -> bytes:
    width, order = random.choice(((1, ">"), (2, "<"), (2, ">"), (4, "<"), (4, ">")))
    number = random.choice(_NUMBERS) % 256**width
    at = random.randrange(2, 200)
    # Otherwise a reader that verifies checksums would not parse the changed bytes.
    return _with_checksums(data[:at] + struct.pack(order + "xBH I"[width], number) + data[at + width :])


def _zeroed(data: bytes, random: Random, other: bytes) -> bytes:
    start, end = _block(data, random)
    return data[:start] + bytes(end - start) + data[end:]


def _removed(data: bytes, random: Random, other: bytes) -> bytes:
    start, end = _block(data, random)
    return data[:start] + data[end:]


def _repeated(data: bytes, random: Random, other: bytes) -> bytes:
    start, end = _block(data, random)
    return data[:end] + data[start:end] * random.randint(1, 50) + data[end:]


def _swapped(data: bytes, random: Random, other: bytes) -> bytes:
    start, end = _block(data, random)
    middle = (start + end) // 2
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


def _spliced(data: bytes, random: Random, other: bytes) -> bytes:
    start, end = _block(data, random)
    return data[:start] + other[random.randrange(len(other)) :] + data[end:]


def _with_noise(data: bytes, random: Random, other: bytes) -> bytes:
    start, end = _block(data, random)
    return data[:start] + random.randbytes(end - start) + data[end:]


def _block(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + 2 ** random.randrange(10))


def _with_checksums(data: bytes) -> bytes:
    """Returns a PNG with corrected checksums; other files are unchanged."""
    if not data.startswith(b"\x89PNG"):
        return data
    corrected, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        corrected[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end])) if end + 4 <= len(data) else b""
        at = end + 4
    return bytes(corrected[: len(data)])


MUTATIONS: tuple[Callable[[bytes, Random, bytes], bytes], ...] = (
    _truncated,
    _almost_whole,
    _flipped_in_the_header,
    _flipped_in_the_body,
    _wrong_number,
    _zeroed,
    _removed,
    _repeated,
    _swapped,
    _spliced,
    _with_noise,
)
