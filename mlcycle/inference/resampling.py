"""Reduces an image with an antialiased triangle filter: the numbers of Pillow's BILINEAR, to the last bit.

Pillow's own loops take one number at a time. Those of resampling.c do the same sums in a third of the time. They are
compiled when mlcycle is installed, if there is a C compiler; without one Pillow is used, and the pixels are the same.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import numpy as np
import PIL
from PIL import Image

from mlcycle.inference import compiled

_WEIGHT_BITS = 22
_BLOCK = 64  # bytes: resampling.c turns 16 rows of 4 bytes a pixel into columns
# Pillow keeps the pixels of an image together if they fit into one block of 16 MiB.
_TOGETHER = 15 << 20
_BAND_PIXELS = 1 << 20
_BEGINS_WITH_COLUMNS_IF_HIGH = int(PIL.__version__.partition(".")[0]) >= 13


class _ArrowArray(ctypes.Structure):
    """Arrow's C data interface, by which Pillow gives access to its pixels without a copy."""

    _fields_ = (
        ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64), ("n_children", ctypes.c_int64), ("buffers", ctypes.POINTER(ctypes.c_void_p)),
        ("children", ctypes.POINTER(ctypes.c_void_p)), ("dictionary", ctypes.c_void_p), ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )  # fmt: skip


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def reduce(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Returns an RGB image reduced to `size` (width, height), neither of them longer than before, as uint8 HxWx3."""
    library = _library()
    (width, height), (made_width, made_height) = image.size, size
    begins_with_columns = _BEGINS_WITH_COLUMNS_IF_HIGH and height - made_height > 2 * (width - made_width)
    is_usual = image.mode == "RGB" and made_width < width and made_height <= height and not begins_with_columns
    if library is None or not is_usual:
        return np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    try:
        rows_HW3 = _reduce_rows(library, image, made_width)
    except ValueError:  # its pixels do not lie together: blocks smaller than 16 MiB were set
        return np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    return rows_HW3 if made_height == height else _reduce_columns(library, rows_HW3, made_height)


def _reduce_rows(library: ctypes.CDLL, image: Image.Image, made_width: int) -> np.ndarray:
    """Raises ValueError if Pillow does not keep pixels of a band together."""
    width, height = image.size
    first_N, weights_NT = _weights(width, made_width)
    columns = np.empty(_BLOCK * width, np.uint8)
    made_HW3 = np.empty((height, made_width, 3), np.uint8)
    rows = height if 4 * width * height <= _TOGETHER else max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image if rows == height else image.crop((0, top, width, min(top + rows, height)))
        _, capsule = band.__arrow_c_array__()
        pixels = _ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
        child = _ArrowArray.from_address(pixels.children[0])
        library.resample_rows(
            child.buffers[1], width, band.height, made_HW3[top : top + band.height], made_width, first_N, weights_NT,
            weights_NT.shape[1], columns,
        )  # fmt: skip
    return made_HW3


def _reduce_columns(library: ctypes.CDLL, pixels_HW3: np.ndarray, made_height: int) -> np.ndarray:
    height, width = pixels_HW3.shape[:2]
    first_N, weights_NT = _weights(height, made_height)
    made_HW3 = np.empty((made_height, width, 3), np.uint8)
    library.resample_columns(pixels_HW3, 3 * width, made_HW3, made_height, first_N, weights_NT, weights_NT.shape[1])
    return made_HW3


@lru_cache(maxsize=64)
def _weights(length: int, made: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns of each of `made` pixels along one side the first pixel that it is made of, and its weights.

    In the same order of floating-point operations as Pillow's, for the weights to be rounded as there.

    Returns first_N and weights_NT (int32, each row 2**22 in all). Each first pixel plus T is at most `length`.
    """
    scale = length / made
    centres_N = (np.arange(made) + 0.5) * scale
    lowest_N = np.maximum(0, (centres_N - scale + 0.5).astype(np.int64))
    highest_N = np.minimum(length, (centres_N + scale + 0.5).astype(np.int64))
    taps = int((highest_N - lowest_N).max())
    first_N = np.minimum(lowest_N, length - taps)
    pixels_NT = first_N[:, None] + np.arange(taps)
    distances_NT = np.abs((pixels_NT - centres_N[:, None] + 0.5) * (1.0 / scale))
    is_seen_NT = (pixels_NT >= lowest_N[:, None]) & (pixels_NT < highest_N[:, None])
    shares_NT = np.where(is_seen_NT & (distances_NT < 1), 1 - distances_NT, 0.0)
    sums_N = np.zeros(made)
    for share_N in shares_NT.T:
        sums_N += share_N
    weights_NT = (0.5 + shares_NT / sums_N[:, None] * (1 << _WEIGHT_BITS)).astype(np.int32)
    return first_N.astype(np.int32), np.ascontiguousarray(weights_NT)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    library = compiled.library()
    if library is None:
        return None
    pixels = np.ctypeslib.ndpointer(np.uint8, flags="C_CONTIGUOUS")
    whole = np.ctypeslib.ndpointer(np.int32, flags="C_CONTIGUOUS")
    number = ctypes.c_int
    library.resample_rows.argtypes = [ctypes.c_void_p, number, number, pixels, number, whole, whole, number, pixels]
    library.resample_rows.restype = None
    library.resample_columns.argtypes = [pixels, number, pixels, number, whole, whole, number]
    library.resample_columns.restype = None
    return library
