"""Image files: bytes → an upright RGB image, or a stable code and a sentence that says why not.

What is decided here, and stands in docs/model-file.md as the decoding that the model was frozen with:

- the EXIF orientation is applied (all eight), and nothing of the file's metadata is used besides;
- transparent pixels are laid onto white, as a viewer shows them;
- 16-bit pixels keep their high byte; nothing is clipped to white;
- of animations the first image counts, of HEIF the primary one, and the record says so; pages of a TIFF are images
  of their own, but who decodes the file as one gets the first;
- colour profiles (ICC) are ignored: the pixels count as sRGB;
- a file that ends early is an error, never half an image.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import heif, limits, tiff_pages
from mlcycle.inference.decoding.memory import Room, give_back
from mlcycle.inference.decoding.reading import opened
from mlcycle.machine import own_process

# Twice Pillow's own mark for a suspicious image, which is where Pillow itself refuses: about 179 megapixels.
MAX_PIXELS = 178_956_970
# What the largest of them takes. Smaller ones are decoded side by side for as long as they take no more together.
_ROOM = Room(limits.BYTES_A_PIXEL * MAX_PIXELS)
_HUGE = 2**24
# Formats that images come in. Others that Pillow knows are not even opened: EPS would start another program.
# Pillow loads the first five for any image, the rest takes it a while.
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
    # libtiff writes on stderr by itself, which Pillow leaves be. Where it is built in otherwise, it goes on doing so.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


if own_process.is_claimed():  # at once, since --private lets nothing be loaded later
    _silence_libraries()


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image, not yet upright.

    Attributes:
        image: mode RGB, 8 bits a channel, the rows as they lie in the file.
        size: width and height of the whole image; those of `image` are less if it was decoded at a reduced scale.
        orientation: the EXIF orientation that is still to be applied, 1 to 8.
        note: what a reader of the record should know, e.g. "first of 12 frames", or "".
    """

    image: Image.Image
    size: tuple[int, int]
    orientation: int
    note: str

    @property
    def upright_size(self) -> tuple[int, int]:
        """Returns width and height of the whole image as a person sees it, in pixels."""
        width, height = self.size
        return (height, width) if self.orientation >= 5 else (width, height)

    def upright(self) -> Image.Image:
        """Returns the image as a person sees it; it stays a Pillow image to spare a copy of all its pixels."""
        turn = _UPRIGHT.get(self.orientation)
        return self.image if turn is None else self.image.transpose(turn)


def read(path: str | Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """Reads an image's bytes; pipes, sockets and devices are refused without being opened.

    Raises:
        UnreadableError: not-found, not-a-file, no-permission, too-large or unreadable.
    """
    # Eight bytes a pixel is the most that an image takes without compression.
    with opened(path, most_bytes=8 * max_pixels) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return file.read(size)


def decode(data: bytes, max_pixels: int = MAX_PIXELS, least_side: float | None = None) -> Decoded:
    """Decodes an image of any format and mode to 8-bit RGB; what is too large is refused by its header.

    Of a JPEG, the decoder makes 1/2, 1/4 or 1/8 of its size if its long side then still has `least_side` pixels: a
    third of the time, and nearly the same image once it is made smaller. None decodes it in full.

    Raises:
        UnreadableError: empty, not-an-image, unsupported, truncated, damaged or too-large.
    """
    if not data:
        raise UnreadableError("empty", "the file is empty")
    limits.check_file(data)
    light = limits.lightened(data)
    return _decoded(lambda: _opened(light), light, max_pixels, least_side, lambda image: _note(image, light))


def decode_page(file: BinaryIO, offset: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decodes the one page of a TIFF whose directory begins at `offset`, and reads nothing of the others.

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
            message = "the page's directory is damaged, or beyond the end of the file"
            raise UnreadableError("damaged", message) from None


def from_pillow(image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Returns an image that was opened with Pillow as its file would be decoded: upright, mode RGB, 8 bits a channel.

    It is loaded if it was not, and else left as it is; of several frames the present one counts.

    Raises:
        UnreadableError: empty, unsupported, truncated, damaged or too-large.
    """
    if not image.width * image.height:
        raise UnreadableError("empty", "it has no pixels")
    limits.check_size(*image.size, max_pixels)
    try:
        with _ROOM.take(limits.bytes_needed(image, image.size)):
            image.load()
            return Decoded(_rgb(image), image.size, _orientation(image), "").upright()
    except UnreadableError:
        raise
    except Exception as problem:
        raise _unreadable(problem, b"") from None


def _tiff(view: Any) -> ImageFile.ImageFile:
    return Image.open(view, formats=["TIFF"])


def _decoded(
    opened: Callable[[], ImageFile.ImageFile],
    data: Any,
    max_pixels: int,
    least_side: float | None,
    note: Callable[[ImageFile.ImageFile], str],
) -> Decoded:
    if own_process.is_claimed():
        _silence_libraries()
        # Pillow asks it of images within images too, as of those in an icon; it means twice the figure.
        Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
    try:
        with opened() as image:
            limits.check_image(image, data, max_pixels)
            decoded = _loaded(image, least_side, note)
    except UnreadableError:
        raise
    except Exception as problem:
        # Broken files make Pillow raise nearly anything: OSError, SyntaxError, ValueError, struct.error, zlib.error …
        raise _unreadable(problem, data) from None
    if decoded.size[0] * decoded.size[1] > _HUGE:
        give_back()
    return decoded


def _loaded(
    image: ImageFile.ImageFile, least_side: float | None, note: Callable[[ImageFile.ImageFile], str]
) -> Decoded:
    whole = image.size
    reduced = least_side is not None and _reduce(image, least_side)
    with _ROOM.take(limits.bytes_needed(image, whole)):
        image.load()
        # Asked for after loading: Pillow turns TIFFs by itself, and then says that nothing is left to turn.
        size = whole if reduced else image.size
        return Decoded(_rgb(image), size, _orientation(image), note(image))


def _opened(data: bytes) -> ImageFile.ImageFile:
    if heif.is_heif(data):
        return heif.opened(data)
    try:
        return Image.open(io.BytesIO(data), formats=_FIRST)
    except UnidentifiedImageError:
        Image.init()
        return Image.open(io.BytesIO(data), formats=[each for each in _MORE if each in Image.OPEN])


def _reduce(image: ImageFile.ImageFile, least_side: float) -> bool:
    """Has a JPEG decoded at the least scale that leaves it long enough; tells whether there is one."""
    width, height = image.size
    by = next((by for by in (8, 4, 2) if max(width, height) / by >= max(least_side, 1)), 1)
    if by == 1 or min(width, height) < by or image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return False
    image.draft(None, (width // by, height // by))
    return True


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip to 255 here; of 16-bit colours it keeps the high byte, and so do we of grey.
        return _grey_to_rgb((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return _grey_to_rgb(_wide_to_bytes(np.asarray(image)))
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode != "RGB":
        return image.convert("RGB")
    # These decoders hold on to images of their own for as long as the image is there.
    return image.copy() if image.format in ("AVIF", "HEIF", "WEBP") else image


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    for top, bottom in _strips(image.height, image.width):
        strip = image.crop((0, top, image.width, bottom)).convert("RGBA")
        white.paste(strip, (0, top), mask=strip)
    return white


def _grey_to_rgb(values_HW: np.ndarray) -> Image.Image:
    return Image.fromarray(values_HW).convert("RGB")


def _wide_to_bytes(values_HW: np.ndarray) -> np.ndarray:
    """Scales 32-bit grey to uint8 by the range it evidently has: 0 to 1 (fractions), to 255 or to 65535."""
    low, high = values_HW.min(), values_HW.max()
    if not (low >= 0 and high <= 65535):
        raise UnreadableError("unsupported", "its pixels are numbers outside 0 to 65535", "save it with 8 or 16 bits")
    strips = [slice(*each) for each in _strips(*values_HW.shape)]
    fractions = high <= 1 and any(bool((values_HW[each] != np.floor(values_HW[each])).any()) for each in strips)
    scale = 255 if fractions else 1
    bytes_HW = np.empty(values_HW.shape, np.uint8)
    for strip in strips:
        wide_HW = values_HW[strip].astype(np.float64)
        bytes_HW[strip] = wide_HW // 256 if high > 255 else np.rint(wide_HW * scale)
    return bytes_HW


def _strips(height: int, width: int) -> list[tuple[int, int]]:
    """Returns the first and the next row of strips of about a megapixel, so that what is in between stays small."""
    rows = max(1, 2**20 // width)
    return [(top, min(height, top + rows)) for top in range(0, height, rows)]


def _orientation(image: Image.Image) -> int:
    if image.format == "HEIF":
        return 1  # its own marks have turned it already, and they count, not EXIF
    try:
        fit = limits.is_exif_fit(image.info.get("exif") or b"")
        value = image.getexif().get(_ORIENTATION, 1) if fit else 1
    except Exception:
        return 1  # EXIF that cannot be parsed turns nothing
    return value if value in _UPRIGHT else 1


def _note(image: Image.Image, data: bytes) -> str:
    try:
        count = limits.count_images(image, data)
    except Exception:
        return "first of several frames, some of them damaged"
    which = "primary" if image.format == "HEIF" else "first"
    return f"{which} of {count} {_PIECES.get(image.format or '', 'frames')}" if count > 1 else ""


def _unreadable(problem: Exception, data: bytes) -> UnreadableError:
    said = " ".join(str(problem).split())[:120]
    if isinstance(problem, UnidentifiedImageError):
        return _unidentified(data)
    if isinstance(problem, (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError)):
        return UnreadableError("too-large", "it has too many pixels", "raise --max-pixels if you trust it")
    if isinstance(problem, EOFError) or any(words in said.lower() for words in ("truncated", "end of file")):
        return UnreadableError("truncated", "the file ends before the image does")
    return UnreadableError("damaged", f"the image is damaged: {said or type(problem).__name__}")


def _unidentified(data: bytes) -> UnreadableError:
    hint = "save it as JPEG or PNG"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        from PIL import features

        if features.check("avif"):
            return UnreadableError("damaged", "the image is damaged: not a whole AVIF file")
        return UnreadableError("unsupported", "AVIF files need a newer Pillow", hint)
    if data[4:8] == b"ftyp":
        return UnreadableError("unsupported", "it is a video, or of a kind that is not read", hint)
    for format in _REFUSED:
        if format in Image.OPEN and (accepts := Image.OPEN[format][1]) and accepts(data[:16]):
            return UnreadableError("unsupported", f"{format} files are not read", hint)
    return UnreadableError("not-an-image", "it is not an image of a known format")
