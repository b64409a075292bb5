"""How training reads an image: file → upright pixels → network input.

Inference has an independent implementation; `mlcycle freeze` checks that both agree, starting from the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from mlcycle.datasets.member import ImagePath, for_pillow
from mlcycle.errors import DataError

ORIENTATION_TAG = 0x0112
BITS_TAG, PHOTOMETRIC_TAG = 258, 262
SIDEWAYS = (5, 6, 7, 8)
# Only some of Pillow's formats, because others start external programs.
FORMATS = frozenset(
    "AVIF BMP DIB GIF HEIF ICO JPEG JPEG2000 MPO PCX PNG PPM QOI SGI SUN TGA TIFF WEBP".split()  # noqa: SIM905
)
# The transposition that turns a stored image upright, by EXIF orientation.
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
        DataError: missing, or not an image of a supported format.
    """
    try:
        image = Image.open(for_pillow(path))
    except Exception as problem:  # a broken file makes Pillow raise nearly anything
        raise _unreadable(path, problem) from None
    if image.format not in FORMATS:
        raise _unreadable(path, ValueError(f"{image.format} files are not supported"))
    image.filename = str(path)  # the name in error messages, also for a member of a shard
    return image


def stored_rgb(image: Image.Image) -> Image.Image:
    """Decodes an image as it is stored, to 8-bit RGB, by the rules of docs/model-file.md.

    Raises:
        DataError: truncated, damaged, or its values are out of range; the error names the file.
    """
    try:
        bits = _stated_bits(image)
        image.load()
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            is_negative = _tags(image).get(PHOTOMETRIC_TAG) == 0
            values_HW = _to_8_bits(np.asarray(image, np.float64), bits, is_negative)
            return Image.fromarray(values_HW.astype(np.uint8)).convert("RGB")
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")
    except Exception as problem:
        raise _unreadable(getattr(image, "filename", "an image"), problem) from None


def _to_8_bits(values_HW: np.ndarray, stated: int, is_negative: bool) -> np.ndarray:
    """Scales grey values of more than 8 bits to 0 to 255: fractions by 255, others to the highest 8 of their bits."""
    if not (values_HW.min() >= 0 and values_HW.max() <= 65535):
        raise ValueError("its pixel values are outside 0 to 65535")
    is_fractions = values_HW.max() <= 1 and bool((values_HW % 1).any())
    if is_negative:
        values_HW = (1 if is_fractions else 2 ** _bits(values_HW, stated) - 1) - values_HW
    if is_fractions:
        return np.rint(values_HW * 255)
    bits = _bits(values_HW, stated)
    return np.rint(values_HW) if bits == 8 else values_HW // 2 ** (bits - 8)


def _bits(values_HW: np.ndarray, stated: int) -> int:
    """Returns the number of bits of the brightest value: those stated or else the fewest of 8, 10, 12, 14 and 16."""
    if stated:
        return stated if values_HW.max() < 2**stated else 16
    return next(bits for bits in (8, 10, 12, 14, 16) if values_HW.max() < 2**bits)


def _stated_bits(image: Image.Image) -> int:
    """Returns the significant bits by a TIFF's BitsPerSample, if below 16, or by a PNG's sBIT; 0 if unknown."""
    if image.format == "TIFF":
        bits = int(_tags(image).get(BITS_TAG, (16,))[0])
        return bits if 8 < bits < 16 else 0
    file = getattr(image, "fp", None)
    if image.format != "PNG" or not image.mode.startswith("I") or file is None:
        return 0
    place = file.tell()
    bits = _significant_bits(file)
    file.seek(place)
    return min(16, max(8, bits)) if bits else 0


def _significant_bits(file: BinaryIO) -> int:
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
        body = file.read(int.from_bytes(head[:4]) + 4)
        if head[4:] == b"sBIT":
            return body[0]
    return 0


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return getattr(image, "tag_v2", {})  # only a TIFF has them


def _unreadable(path: object, problem: Exception) -> DataError:
    # Pillow's message names its input, which for a member of a shard is a stream without a name.
    is_not_an_image = isinstance(problem, UnidentifiedImageError)
    reason = "it is not an image" if is_not_an_image else " ".join(str(problem).split())[:120]
    return DataError(f"the image {path} cannot be read: {reason or type(problem).__name__}", "run: mlcycle data check")


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decodes an image to 8-bit RGB, and turns it upright by its EXIF orientation.

    Raises:
        DataError: as `stored_rgb`.
    """
    pixels = stored_rgb(image)
    # Read after decoding, because Pillow turns some formats itself and then resets the orientation.
    turn = TURNS.get(_orientation(image))
    return pixels if turn is None else pixels.transpose(turn)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns the width and height of the upright image, from the header."""
    width, height = image.size
    # Pillow turns TIFFs itself, and reports their upright size.
    is_sideways = _orientation(image) in SIDEWAYS and image.format != "TIFF"
    return (height, width) if is_sideways else (width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # EXIF that cannot be parsed is ignored
        return 1


def fit_long_side(image: Image.Image, long_side: int) -> np.ndarray:
    """Shrinks an image to a long side of `long_side` pixels at most; never enlarges it. Returns input_HW3 uint8."""
    width, height = image.size
    scale = min(1.0, long_side / max(width, height))
    size = (max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image)
