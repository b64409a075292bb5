"""Grey of more than 8 bits → 8 bits: which value is white, and whether faces can be seen in the result.

A file of 16 bits may hold 10 or 12, and rarely says so. Their high byte is nearly black, and no face is found in it.
White is the largest value of the bits that the file states, or else of the fewest usual ones that no value exceeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import layout

_USUAL_BITS = (8, 10, 12, 14, 16)
_TIFF_BITS, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
# All but one in a hundred pixels should span so many of 256 levels. A night scene spans more; values whose white is not
# known span fewer, and brightening them would show faces that the detector has missed.
MIN_LEVELS = 32
TOO_DARK = (
    f"its values span fewer than {MIN_LEVELS} of 256 levels, and its white level is unknown,"
    " so that faces may be missed"
)


def is_deep(image: Image.Image) -> bool:
    """Returns whether an image that is not decoded yet has more than 8 bits per channel, in grey or colour."""
    if image.mode.startswith("I") or image.mode == "F":
        return True
    arguments = [tile[3] for tile in getattr(image, "tile", ())[:1] if tile[3]]
    raw_modes = [each if isinstance(each, str) else str(each[0]) for each in arguments]
    return any(";16" in each and not each.startswith("BGR") for each in raw_modes)  # BGR;16 is 5, 6 and 5 bits


def stated_bits(image: Image.Image, data: Any = b"") -> int:
    """Returns how many bits of its grey are significant, 8 to 16, by a TIFF's tags or the sBIT of a PNG; 0 if unknown.

    A TIFF states the bits that it stores: in 16 of them there may be fewer.
    """
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS, (16,))[0]
        return bits if 8 < bits < 16 else 0
    bits = layout.png_significant_bits(data) if image.format == "PNG" else 0
    return min(16, max(8, bits)) if bits else 0


def to_bytes(image: Image.Image, bits: int) -> tuple[np.ndarray, str]:
    """Scales grey of the modes I;16, I and F to bytes_HW (uint8).

    Args:
        bits: that the file states, or 0.

    Returns:
        The pixels, and a note if the number of bits was taken from the values.

    Raises:
        UnreadableError: unsupported, values outside 0 to 65535.
    """
    values_HW = np.asarray(image)
    low, high = values_HW.min().item(), values_HW.max().item()
    if not (low >= 0 and high <= 65535):
        raise UnreadableError("unsupported", "it has pixel values outside 0 to 65535", "save it with 8 or 16 bits")
    is_fractions = high <= 1 and any(bool((strip != np.floor(strip)).any()) for strip in _strips(values_HW))
    zero = None
    if getattr(image, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        zero = 1 if is_fractions else 2 ** _bits(high, bits) - 1
        high = zero - low
    scale = 255.0 if is_fractions else 2.0 ** (8 - _bits(high, bits))
    bytes_HW = np.empty(values_HW.shape, np.uint8)
    for strip, output in zip(_strips(values_HW), _strips(bytes_HW), strict=True):
        wide_HW = strip.astype(np.float64) if zero is None else zero - strip.astype(np.float64)
        output[:] = np.rint(wide_HW * scale) if scale >= 1 else np.floor(wide_HW * scale)
    is_guess = not bits and scale not in (255, 1 / 256)
    return bytes_HW, f"values up to {high:,.6g}, read as {_bits(high, 0)} bits" if is_guess else ""


def is_too_dark(image: Image.Image) -> bool:
    """Returns whether the decoded pixels of an image of deep colours span so few levels that faces may be missed.

    Dark is said for all of these; they may also be nearly white, or of hardly any contrast.
    """
    counts_256 = np.array(image.convert("L").histogram())
    share_256 = np.cumsum(counts_256) / counts_256.sum()
    levels = int(np.searchsorted(share_256, 0.995) - np.searchsorted(share_256, 0.005, side="right"))
    return 0 < levels < MIN_LEVELS


def _bits(high: float, stated: int) -> int:
    if stated:
        # By the PNG specification, sBIT tells of values that were scaled to the whole range.
        return stated if high < 2**stated else 16
    return next(bits for bits in _USUAL_BITS if high < 2**bits)


def _strips(values_HW: np.ndarray) -> Iterator[np.ndarray]:
    """Yields views of about a megapixel, which bound the memory for temporary arrays."""
    rows = max(1, 2**20 // values_HW.shape[1])
    return (values_HW[top : top + rows] for top in range(0, len(values_HW), rows))
