"""Image file → upright pixels, and pixels → input: how training reads an image.

Inference has its own reading, which knows nothing of this one; `mlcycle freeze` checks that the two agree, from the
file on.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, UnidentifiedImageError

from mlcycle.datasets.member import ImagePath, for_pillow
from mlcycle.errors import DataError

ORIENTATION_TAG = 0x0112
SIDEWAYS = (5, 6, 7, 8)
# Not every format that Pillow knows: some start other programs.
FORMATS = frozenset(
    "AVIF BMP DIB GIF HEIF ICO JPEG JPEG2000 MPO PCX PNG PPM QOI SGI SUN TGA TIFF WEBP".split()  # noqa: SIM905
)
# What turns a stored image upright, for each EXIF orientation that needs it.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(path: ImagePath) -> Image.Image:
    """Opens an image without decoding it.

    Raises:
        DataError: missing, or not an image of a format that images have.
    """
    try:
        image = Image.open(for_pillow(path))
    except Exception as problem:  # a broken file makes Pillow raise nearly anything
        raise _unreadable(path, problem) from None
    if image.format not in FORMATS:
        raise _unreadable(path, ValueError(f"{image.format} files are not read"))
    image.filename = str(path)  # what errors name, also of a member of a shard
    return image


def stored_rgb(image: Image.Image) -> Image.Image:
    """Decodes an image as it lies in its file, in 8-bit RGB, by the rules of docs/model-file.md.

    Raises:
        DataError: truncated or damaged, or its numbers are no pixels; the file is named.
    """
    try:
        image.load()
        if image.mode.startswith("I;16"):
            return _grey(np.asarray(image) >> 8)
        if image.mode in ("I", "F"):
            return _grey(_in_bytes(np.asarray(image, np.float64)))
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")
    except Exception as problem:
        raise _unreadable(getattr(image, "filename", "an image"), problem) from None


def _grey(values_HW: np.ndarray) -> Image.Image:
    return Image.fromarray(values_HW.astype(np.uint8)).convert("RGB")


def _in_bytes(values_HW: np.ndarray) -> np.ndarray:
    """32-bit grey by the range that it evidently has: 0 to 1 in fractions, 0 to 255, or 0 to 65535."""
    if not (values_HW.min() >= 0 and values_HW.max() <= 65535):
        raise ValueError("its pixels are numbers outside 0 to 65535")
    if values_HW.max() > 255:
        return values_HW // 256
    is_fractions = values_HW.max() <= 1 and (values_HW % 1).any()
    return np.rint(values_HW * (255 if is_fractions else 1))


def _unreadable(path: object, problem: Exception) -> DataError:
    # Pillow names what it was given, which for a member of a shard is a stream without a name.
    is_none = isinstance(problem, UnidentifiedImageError)
    said = "this is no image" if is_none else " ".join(str(problem).split())[:120] or type(problem).__name__
    return DataError(f"the image {path} cannot be read: {said}", "run: mlcycle data check")


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decodes an image and turns it as its EXIF orientation says, in 8-bit RGB.

    Raises:
        DataError: as `stored_rgb`.
    """
    pixels = stored_rgb(image)
    # Asked for after decoding, for Pillow turns some formats by itself and then says that nothing is left to turn.
    turn = TURNS.get(_orientation(image))
    return pixels if turn is None else pixels.transpose(turn)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns width and height as the upright image will have them, from the header alone."""
    width, height = image.size
    # Pillow turns TIFFs by itself, and says their size as if it had.
    is_sideways = _orientation(image) in SIDEWAYS and image.format != "TIFF"
    return (height, width) if is_sideways else (width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # EXIF that cannot be parsed turns nothing
        return 1


def fit_long_side(image: Image.Image, long_side: int) -> np.ndarray:
    """Makes an image smaller, never larger, until its long side is `long_side` pixels; returns input_HW3 uint8."""
    width, height = image.size
    scale = min(1.0, long_side / max(width, height))
    size = (max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image)
