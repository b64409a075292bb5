"""Photo file → upright pixels, and pixels → input: how training reads a photograph.

Inference has its own reading, which knows nothing of this one; `mlcycle freeze` checks that the two agree, from the
file on.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mlcycle.errors import DataError

ORIENTATION_TAG = 0x0112


def open_photo(path: Path) -> Image.Image:
    """Opens a photograph without decoding it.

    Raises:
        DataError: missing, or not a picture.
    """
    try:
        return Image.open(path)
    except (OSError, Image.DecompressionBombError) as problem:
        raise DataError(f"the photograph {path} cannot be read: {problem}", "run: mlcycle train data check") from None


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decodes a picture and turns it as its EXIF orientation says, in RGB.

    Raises:
        DataError: truncated or damaged.
    """
    try:
        return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError) as problem:
        raise DataError(f"a photograph cannot be decoded: {problem}", "run: mlcycle train data check") from None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns width and height as the upright picture will have them, from the header alone."""
    width, height = image.size
    return (height, width) if image.getexif().get(ORIENTATION_TAG, 1) >= 5 else (width, height)


def fit_long_side(picture: Image.Image, long_side: int) -> np.ndarray:
    """Makes a picture smaller, never larger, until its long side is `long_side` pixels; returns input_HW3 uint8."""
    width, height = picture.size
    scale = min(1.0, long_side / max(width, height))
    size = tuple(max(1, math.floor(side * scale + 0.5)) for side in (width, height))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture)
