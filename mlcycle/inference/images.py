"""Photograph files: bytes → an upright RGB picture, or a stable code and a sentence that says why not.

What is decided here, and stands in docs/model-file.md as the decoding that the model was frozen with:

- the EXIF orientation is applied (all eight), and nothing of the file's metadata is used besides;
- transparent pixels are laid onto white, as a viewer shows them;
- 16-bit pixels keep their high byte; nothing is clipped to white;
- of animations the first picture counts, of HEIF the primary one, and the record says so; pages of a TIFF are pictures
  of their own, but who decodes the file as one gets the first;
- colour profiles (ICC) are ignored: the pixels count as sRGB;
- a file that ends early is an error, never half a picture.
"""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from mlcycle.inference import pages
from mlcycle.inference.reading import UnreadableError, opened

# Twice Pillow's own mark for a suspicious picture, which is where Pillow itself refuses: about 179 megapixels.
MAX_PIXELS = 178_956_970

# Formats that photographs come in. Others that Pillow knows are refused: EPS would start another program.
_COMMON = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
_RARE = ("DIB", "HEIF", "ICO", "JPEG2000", "PCX", "PPM", "QOI", "SGI", "SUN", "TGA")
FORMATS = frozenset(_COMMON + _RARE)

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
_PIECES = {"TIFF": "pages", "MPO": "pictures", "HEIF": "pictures"}
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())

# Pillow warns of odd files on stderr, where the words would stand between the records. What matters becomes an error.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture, not yet upright.

    Attributes:
        image: mode RGB, 8 bits a channel, the rows as they lie in the file.
        size: width and height of the whole picture; those of `image` are less if it was decoded at a reduced scale.
        orientation: the EXIF orientation that is still to be applied, 1 to 8.
        note: what a reader of the record should know, e.g. "first of 12 frames", or "".
    """

    image: Image.Image
    size: tuple[int, int]
    orientation: int
    note: str

    @property
    def upright_size(self) -> tuple[int, int]:
        """Returns width and height of the whole picture as a person sees it, in pixels."""
        width, height = self.size
        return (height, width) if self.orientation >= 5 else (width, height)

    def upright(self) -> Image.Image:
        """Returns the picture as a person sees it; it stays a Pillow image to spare a copy of all its pixels."""
        turn = _UPRIGHT.get(self.orientation)
        return self.image if turn is None else self.image.transpose(turn)


def read(path: str | Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """Reads a photograph's bytes; pipes, sockets and devices are refused without being opened.

    Raises:
        UnreadableError: not-found, not-a-file, no-permission, too-large or unreadable.
    """
    # Eight bytes a pixel is the most that a picture takes without compression.
    with opened(path, most_bytes=8 * max_pixels) as file:
        return file.read()


def decode(data: bytes, max_pixels: int = MAX_PIXELS, least_side: float | None = None) -> Decoded:
    """Decodes a photograph of any format and mode to 8-bit RGB; what is too large is refused by its header.

    Of a JPEG, the decoder makes 1/2, 1/4 or 1/8 of its size if its long side then still has `least_side` pixels: a
    third of the time, and nearly the same picture once it is made smaller. None decodes it in full.

    Raises:
        UnreadableError: empty, not-an-image, unsupported, truncated, damaged or too-large.
    """
    if not data:
        raise UnreadableError("empty", "the file is empty")
    try:
        page_count = len(pages.offsets(io.BytesIO(data)))
        with _image(data, max_pixels) as image:
            decoded = _decoded(image, max_pixels, least_side)
            return replace(decoded, note=_note(image, page_count))
    except UnreadableError:
        raise
    except Exception as problem:
        # Broken files make Pillow raise nearly anything: OSError, SyntaxError, ValueError, struct.error, zlib.error …
        raise _unreadable(problem, data) from None


def decode_page(file: BinaryIO, offset: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decodes the one page of a TIFF whose directory begins at `offset`, and reads nothing of the others.

    Raises:
        UnreadableError: unsupported, truncated, damaged or too-large.
    """
    try:
        with pages.first_at(file, offset) as view, _opened(view, max_pixels, "TIFF") as image:
            return _decoded(image, max_pixels)
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("damaged", "the page's directory is damaged, or beyond the end of the file") from None
    except Exception as problem:
        raise _unreadable(problem, b"") from None


def _image(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    if not _is_heif(data):
        return _opened(io.BytesIO(data), max_pixels)
    try:
        from pillow_heif import HeifImageFile
    except ModuleNotFoundError:
        message = "HEIC and HEIF need a package that is not installed: pip install 'mlcycle[heif]'"
        raise UnreadableError("unsupported", message) from None
    image: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
    return image


def _opened(file: Any, max_pixels: int, *formats: str) -> ImageFile.ImageFile:
    if max_pixels > MAX_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own limit would come first
    return Image.open(file, formats=formats or None)


def _is_heif(data: bytes) -> bool:
    """Tells HEIF by the brands at its begin from AVIF, which Pillow reads itself, and from video."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4]), 1024)
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}
    return bool(brands & _HEIF_BRANDS) and not brands & {b"avif", b"avis"}


def _decoded(image: ImageFile.ImageFile, max_pixels: int, least_side: float | None = None) -> Decoded:
    _check(image, max_pixels)
    whole = image.size
    reduced = least_side is not None and _reduce(image, least_side)
    image.load()
    # Asked for after loading: Pillow turns TIFFs by itself, and then says that nothing is left to turn.
    return Decoded(_rgb(image), whole if reduced else image.size, _orientation(image), "")


def _check(image: ImageFile.ImageFile, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableError(
            "too-large",
            f"it has {width} x {height} pixels, more than {max_pixels:,}",
            "raise --max-pixels if you trust it",
        )
    if not width or not height:
        raise UnreadableError("damaged", f"it has {width} x {height} pixels")
    if image.format not in FORMATS:
        raise UnreadableError("unsupported", f"{image.format} files are not read", "save it as JPEG or PNG")


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
        return _grey_to_rgb(np.asarray(image) >> 8)
    if image.mode in ("I", "F"):
        return _grey_to_rgb(_wide_to_bytes(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    if image.mode != "RGB":
        return image.convert("RGB")
    # Counting the frames of some formats moves on from the first, so the pixels are copied; the big ones are JPEGs.
    return image if image.format in ("JPEG", "MPO") else image.copy()


def _grey_to_rgb(values_HW: np.ndarray) -> Image.Image:
    return Image.fromarray(values_HW.astype(np.uint8)).convert("RGB")


def _wide_to_bytes(values_HW: np.ndarray) -> np.ndarray:
    """Scales 32-bit grey by the range it evidently has: 0 to 1 (fractions), to 255 or to 65535."""
    values_HW = values_HW.astype(np.float64)
    low, high = values_HW.min(), values_HW.max()
    if not (low >= 0 and high <= 65535):
        raise UnreadableError("unsupported", "its pixels are numbers outside 0 to 65535", "save it with 8 or 16 bits")
    if high > 255:
        return values_HW // 256
    fractions = high <= 1 and bool((values_HW % 1).any())
    return np.rint(values_HW * 255) if fractions else np.rint(values_HW)


def _orientation(image: Image.Image) -> int:
    if image.format == "HEIF":
        return 1  # its own marks have turned it already, and they count, not EXIF
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1  # EXIF that cannot be parsed turns nothing
    return value if value in _UPRIGHT else 1


def _note(image: Image.Image, page_count: int) -> str:
    try:
        # Pillow would read the directory of every page of a TIFF to count them.
        count = page_count if image.format == "TIFF" else getattr(image, "n_frames", 1)
    except Exception:
        return "first of several frames, some of them damaged"
    which = "primary" if image.format == "HEIF" else "first"
    return f"{which} of {count} {_PIECES.get(image.format or '', 'frames')}" if count > 1 else ""


def _unreadable(problem: Exception, data: bytes) -> UnreadableError:
    said = " ".join(str(problem).split())[:120]
    if isinstance(problem, UnidentifiedImageError):
        if data[4:8] == b"ftyp":
            return UnreadableError("unsupported", "it is a video, or of a kind that is not read")
        return UnreadableError("not-an-image", "it is not a picture of a known format")
    if isinstance(problem, (Image.DecompressionBombError, MemoryError)):
        return UnreadableError("too-large", "it has too many pixels")
    if isinstance(problem, EOFError) or any(words in said.lower() for words in ("truncated", "end of file")):
        return UnreadableError("truncated", "the file ends before the picture does")
    return UnreadableError("damaged", f"the picture is damaged: {said or type(problem).__name__}")
