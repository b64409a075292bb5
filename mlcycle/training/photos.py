"""Photo file → upright pixels, and pixels → input: how training reads a photograph.

Inference has its own reading, which knows nothing of this one; `mlcycle freeze` checks that the two agree, from the
file on.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from mlcycle.errors import DataError

ORIENTATION_TAG = 0x0112
# What turns a stored picture upright, for each EXIF orientation that needs it.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_photo(path: Path) -> Image.Image:
    """Opens a photograph without decoding it.

    Raises:
        DataError: missing, or not a picture.
    """
    try:
        return Image.open(path)
    except (OSError, Image.DecompressionBombError) as problem:
        raise DataError(f"the photograph {path} cannot be read: {problem}", "run: mlcycle train data check") from None


def stored_rgb(image: Image.Image) -> Image.Image:
    """Decodes a picture as it lies in its file, in 8-bit RGB: of 16 bits the high byte, what is transparent on white.

    Raises:
        DataError: truncated or damaged, or of a kind that is no photograph (32-bit grey).
    """
    try:
        image.load()
        if image.mode.startswith("I;16"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        if image.mode in ("I", "F"):
            raise ValueError(f"its mode {image.mode} is not one of photographs")
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as problem:
        raise DataError(f"a photograph cannot be decoded: {problem}", "run: mlcycle train data check") from None


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decodes a picture and turns it as its EXIF orientation says, in 8-bit RGB.

    Raises:
        DataError: as `stored_rgb`.
    """
    pixels = stored_rgb(image)
    # Asked for after decoding, for Pillow turns some formats by itself and then says that nothing is left to turn.
    turn = TURNS.get(image.getexif().get(ORIENTATION_TAG, 1))
    return pixels if turn is None else pixels.transpose(turn)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns width and height as the upright picture will have them, from the header alone."""
    width, height = image.size
    return (height, width) if image.getexif().get(ORIENTATION_TAG, 1) >= 5 else (width, height)


def fit_long_side(picture: Image.Image, long_side: int) -> np.ndarray:
    """Makes a picture smaller, never larger, until its long side is `long_side` pixels; returns input_HW3 uint8."""
    width, height = picture.size
    scale = min(1.0, long_side / max(width, height))
    size = (max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture)
