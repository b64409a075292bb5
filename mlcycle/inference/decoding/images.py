"""Image bytes → an upright RGB image, or an error with a stable code.

These rules are part of the model file's format (docs/model-file.md):

- the EXIF orientation is applied (all eight); other metadata is ignored;
- transparent pixels are composited on white, as viewers do;
- of more than 8 bits the highest 8 significant ones are kept (`deep_grey`); nothing is clipped to white;
- of an animation the first frame is used, of HEIF the primary image, and the record notes it; pages of a TIFF are
  separate images, but `decode` returns the first one;
- colour profiles (ICC) are ignored: pixels are taken as sRGB;
- a truncated file is an error, never half an image.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import damage, deep_grey, heif, layout, limits, tiff_pages
from mlcycle.inference.decoding.memory import MemoryBudget, keep_free_memory, release_free_memory
from mlcycle.inference.decoding.reading import open_file
from mlcycle.machine import own_process

# Pillow's own limit for refusing an image: twice its limit for a warning, about 179 megapixels.
MAX_PIXELS = 178_956_970
# The memory for the largest image. Smaller ones are decoded in parallel as long as they fit in it.
_BUDGET = MemoryBudget(limits.BYTES_PER_PIXEL * MAX_PIXELS)
# An uncompressed image has at most eight bytes per pixel. Smaller files are held in parallel, as long as they have no
# more bytes than the largest.
_FILE_BYTES_PER_PIXEL = 8
_FILE_BUDGET = MemoryBudget(_FILE_BYTES_PER_PIXEL * MAX_PIXELS)
_HUGE = 2**24
# A Pillow image may be loaded by one thread at a time; each image has one of these, chosen by its identity.
_LOADING = [threading.Lock() for _ in range(64)]
# The supported formats. Other formats that Pillow knows are never opened: EPS would start another program.
# Pillow imports the first five for any image; importing the others takes longer.
_FIRST = ("JPEG", "PNG", "GIF", "BMP", "PPM")
_MORE = ("AVIF", "DIB", "ICO", "JPEG2000", "PCX", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP")
_REFUSED = ("DDS", "EPS", "FITS", "ICNS", "PSD", "WMF")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_PIECES = {"TIFF": "pages", "MPO": "images", "HEIF": "images"}


@functools.cache
def _silence_libraries() -> None:
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # libtiff writes to stderr, which Pillow does not prevent. A libtiff that is linked differently still does.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


if own_process.is_claimed():  # at import, because --private refuses to load libraries later
    _silence_libraries()
    keep_free_memory()


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image before its orientation is applied.

    Attributes:
        image: mode RGB, 8 bits per channel, in the file's row order.
        size: width and height of the full image; `image` is smaller if it was decoded at a reduced scale.
        orientation: the EXIF orientation to apply, 1 to 8.
        note: for the reader of the record, e.g. "first of 12 frames", or "".
        flaw: why faces may be missed although the image was decoded, or None.
    """

    image: Image.Image
    size: tuple[int, int]
    orientation: int
    note: str
    flaw: UnreadableError | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Returns width and height of the full upright image in pixels."""
        width, height = self.size
        return (height, width) if self.orientation >= 5 else (width, height)

    def upright(self) -> Image.Image:
        """Returns the upright image; a Pillow image, which avoids a copy of its pixels."""
        transpose = _UPRIGHT.get(self.orientation)
        return self.image if transpose is None else self.image.transpose(transpose)


def read(path: str | Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """Reads an image's bytes; pipes, sockets and devices are refused without being opened.

    Raises:
        UnreadableError: not-found, not-a-file, no-permission, too-large or unreadable.
    """
    with open_file(path, max_bytes=_FILE_BYTES_PER_PIXEL * max_pixels) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return file.read(size)


def file_memory(path: str | Path) -> AbstractContextManager[None]:
    """Reserves the memory for a file's bytes while its block reads and decodes them; waits until it is free."""
    try:
        size = os.stat(path).st_size  # noqa: PTH116 (the trace passes strings)
    except (OSError, ValueError):
        size = 0  # reading it fails
    return _FILE_BUDGET.take(size)


def decode(data: bytes, max_pixels: int = MAX_PIXELS, min_side: float | None = None) -> Decoded:
    """Decodes an image of any format and mode to 8-bit RGB; an image that is too large is refused by its header.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if its long side then still has `min_side` pixels: this takes a
    third of the time, and gives nearly the same image after resizing. None decodes it in full.

    Raises:
        UnreadableError: empty, not-an-image, unsupported, truncated, damaged or too-large.
    """
    if not data:
        raise UnreadableError("empty", "the file is empty")
    limits.check_file(data)
    data = limits.without_large_chunks(data)
    return _decoded(lambda: _open(data), data, max_pixels, min_side, lambda image: _note(image, data))


def decode_page(file: BinaryIO, offset: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decodes the page of a TIFF whose directory is at `offset`, without reading other pages.

    Raises:
        UnreadableError: unsupported, truncated, damaged or too-large.
    """
    with tiff_pages.first_at(file, offset) as view:
        data = view.getvalue()
        limits.check_tags(data)
        try:
            return _decoded(lambda: _tiff(view), data, max_pixels, None, lambda image: "")
        except UnreadableError as problem:
            if problem.code != "not-an-image":
                raise
            message = "the page's directory is damaged or outside the file"
            raise UnreadableError("damaged", message) from None


def from_pillow(image: Image.Image, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Converts a Pillow image as `decode` does with its file: mode RGB, 8 bits per channel.

    It is loaded if necessary, and not changed; of several frames the current one is used. Several threads may be given
    the same image. Damage that Pillow passes over is not noticed: that needs the file's bytes.

    Raises:
        UnreadableError: empty, unsupported, truncated, damaged or too-large.
    """
    if not image.width * image.height:
        raise UnreadableError("empty", "it has no pixels")
    limits.check_size(*image.size, max_pixels)
    try:
        with _LOADING[(id(image) >> 6) % len(_LOADING)], _BUDGET.take(limits.bytes_needed(image, image.size)):
            is_deep = deep_grey.is_deep(image)
            image.load()
            rgb, how = _rgb(image)
            flaw = _flaw(rgb, is_deep=is_deep)
            return Decoded(rgb, image.size, _orientation(image), _joined(how, flaw), flaw)
    except UnreadableError:
        raise
    except Exception as problem:
        raise _unreadable(problem, b"") from None


def _tiff(view: Any) -> ImageFile.ImageFile:
    return Image.open(view, formats=["TIFF"])


def _decoded(
    open_image: Callable[[], ImageFile.ImageFile],
    data: Any,
    max_pixels: int,
    min_side: float | None,
    note: Callable[[ImageFile.ImageFile], str],
) -> Decoded:
    if own_process.is_claimed():
        _silence_libraries()
        # Pillow checks it for nested images too, such as those in an icon, and refuses from twice this value.
        Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
    try:
        with open_image() as image:
            limits.check_image(image, data, max_pixels)
            decoded = _loaded(image, data, min_side, note)
    except UnreadableError:
        raise
    except Exception as problem:
        # For damaged files Pillow raises almost any class: OSError, SyntaxError, ValueError, struct.error, zlib.error …
        raise _unreadable(problem, data) from None
    if decoded.size[0] * decoded.size[1] > _HUGE:
        release_free_memory()
    return decoded


def _loaded(
    image: ImageFile.ImageFile, data: Any, min_side: float | None, note: Callable[[ImageFile.ImageFile], str]
) -> Decoded:
    full_size, is_deep = image.size, deep_grey.is_deep(image)
    reduced = min_side is not None and _reduce(image, min_side)
    with _BUDGET.take(limits.bytes_needed(image, full_size)):
        is_damaged = damage.load(image, data)
        # Read after loading: Pillow applies the orientation of TIFFs itself, and then reports it as upright.
        size = full_size if reduced else image.size
        rgb, how = _rgb(image, data)
        flaw = _flaw(rgb, is_deep=is_deep, is_damaged=is_damaged)
        return Decoded(rgb, size, _orientation(image), _joined(note(image), how, flaw), flaw)


def _flaw(rgb: Image.Image, *, is_deep: bool, is_damaged: bool = False) -> UnreadableError | None:
    if is_damaged:
        return UnreadableError("damaged", damage.DAMAGED)
    if is_deep and deep_grey.is_too_dark(rgb):
        return UnreadableError("unsupported", deep_grey.TOO_DARK)
    return None


def _joined(*notes: str | UnreadableError | None) -> str:
    return "; ".join(each.message if isinstance(each, UnreadableError) else each for each in notes if each)


def _open(data: bytes) -> ImageFile.ImageFile:
    if heif.is_heif(data):
        return heif.open_heif(data)
    try:
        return Image.open(io.BytesIO(data), formats=_FIRST)
    except UnidentifiedImageError:
        Image.init()
        return Image.open(io.BytesIO(data), formats=[each for each in _MORE if each in Image.OPEN])


def _reduce(image: ImageFile.ImageFile, min_side: float) -> bool:
    """Sets the smallest decoding scale of a JPEG that keeps `min_side`; returns whether it is a reduced one."""
    width, height = image.size
    factor = next((factor for factor in (8, 4, 2) if max(width, height) / factor >= max(min_side, 1)), 1)
    if factor == 1 or min(width, height) < factor or image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return False
    image.draft(None, (width // factor, height // factor))
    return True


def _rgb(image: Image.Image, data: Any = b"") -> tuple[Image.Image, str]:
    """Returns the image in mode RGB, and a note on how its values were read."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip these to 255
        bytes_HW, how = deep_grey.to_bytes(image, deep_grey.stated_bits(image, data))
        return Image.fromarray(bytes_HW).convert("RGB"), how
    if image.has_transparency_data:
        return _on_white(image), ""
    if image.mode != "RGB":
        return image.convert("RGB"), ""
    # These decoders keep their own copy of the pixels as long as the image exists.
    return image.copy() if image.format in ("AVIF", "HEIF", "WEBP") else image, ""


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    rows = max(1, 2**20 // image.width)  # strips bound the memory for temporary images
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows))).convert("RGBA")
        white.paste(strip, (0, top), mask=strip)
    return white


def _orientation(image: Image.Image) -> int:
    if image.format == "HEIF":
        return 1  # libheif has applied the container's rotation, which takes precedence over EXIF
    try:
        safe = limits.is_exif_safe(image.info.get("exif") or b"")
        value = image.getexif().get(_ORIENTATION, 1) if safe else 1
    except Exception:
        return 1  # EXIF that cannot be parsed is ignored
    return value if value in _UPRIGHT else 1


def _note(image: Image.Image, data: bytes) -> str:
    try:
        count = limits.count_images(image, data)
    except Exception:
        return "first of several frames, some of them damaged"
    which = "primary" if image.format == "HEIF" else "first"
    return f"{which} of {count} {_PIECES.get(image.format or '', 'frames')}" if count > 1 else ""


def _unreadable(problem: Exception, data: bytes) -> UnreadableError:
    text = " ".join(str(problem).split())[:120]
    if isinstance(problem, UnidentifiedImageError):
        return _unidentified(data)
    if isinstance(problem, (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError)):
        return UnreadableError("too-large", "it has too many pixels", "raise --max-pixels if you trust it")
    if isinstance(problem, EOFError) or any(words in text.lower() for words in ("truncated", "end of file")):
        return UnreadableError("truncated", "the file ends before the image does")
    return UnreadableError("damaged", f"the image is damaged: {text or type(problem).__name__}")


def _unsupported_kind(data: Any) -> str:
    """Returns what an image is that Pillow has recognised and cannot decode; else ""."""
    if data[:2] == layout.JPEG_START:
        bits, channels = layout.jpeg_frame(data)
        is_usual = not channels or (bits == 8 and channels in (1, 3, 4))
        return "" if is_usual else f"a JPEG of {bits} bits and {channels} {'channel' if channels == 1 else 'channels'}"
    if data[:4] in layout.TIFF_STARTS and "TIFF" in Image.OPEN:
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        file.seek(0)
        try:
            Image.OPEN["TIFF"][0](file, "")
        except SyntaxError as problem:  # Pillow looks for another format then, and forgets it
            return "a TIFF of an unusual number or type of channels" if "pixel mode" in str(problem) else ""
        except Exception:
            return ""
    return ""


def _unidentified(data: Any) -> UnreadableError:
    hint = "save it as JPEG or PNG"
    if kind := _unsupported_kind(data):
        return UnreadableError("unsupported", f"it is {kind}, which is not supported", hint)
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        from PIL import features

        if features.check("avif"):
            return UnreadableError("damaged", "the image is damaged: not a whole AVIF file")
        return UnreadableError("unsupported", "AVIF files need a newer Pillow", hint)
    if data[4:8] == b"ftyp":
        return UnreadableError("unsupported", "it is a video or an unsupported type of image", hint)
    for format in _REFUSED:
        if format in Image.OPEN and (accepts := Image.OPEN[format][1]) and accepts(data[:16]):
            return UnreadableError("unsupported", f"{format} files are not supported", hint)
    return UnreadableError("not-an-image", "it is not an image of a known format")
