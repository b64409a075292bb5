"""Files of grey with more than 8 bits, as instruments and scanners write them and Pillow does not."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from odd_files import png_chunk, tiff

_INTEGERS, _FLOATS = 1, 3


def grey_png(values_HW: np.ndarray, sbit: int = 0) -> bytes:
    """Returns uint16 grey as a PNG, with an sBIT chunk unless it is 0."""
    height, width = values_HW.shape
    rows = b"".join(b"\0" + row_W.tobytes() for row_W in values_HW.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    stated = [(b"sBIT", bytes([sbit]))] if sbit else []
    chunks = [(b"IHDR", header), *stated, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in chunks)


def deep_png(values_HW3: np.ndarray) -> bytes:
    """Returns uint16 colours as a PNG."""
    height, width, _ = values_HW3.shape
    rows = b"".join(b"\0" + row_W3.tobytes() for row_W3 in values_HW3.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in chunks)


def grey_tiff(values_HW: np.ndarray, photometric: int = 1) -> bytes:
    """Returns grey of uint16, int32 or float32 as an uncompressed TIFF; photometric 0 says that white is zero."""
    kind = {"u": _INTEGERS, "i": 2, "f": _FLOATS}[values_HW.dtype.kind]
    more = {339: [kind]} if kind != _INTEGERS else {}
    return _tiff(values_HW.shape, 8 * values_HW.itemsize, photometric, values_HW.tobytes(), more)


def packed_tiff(values_HW: np.ndarray) -> bytes:
    """Returns grey of 12 bits, two values in three bytes, as a TIFF; the width must be even."""
    first_HW, second_HW = values_HW[:, 0::2], values_HW[:, 1::2]
    three = first_HW >> 4, (first_HW & 15) << 4 | second_HW >> 8, second_HW & 255
    return _tiff(values_HW.shape, 12, 1, np.stack(three, -1).astype(np.uint8).tobytes(), {})


def _tiff(shape: tuple[int, ...], bits: int, photometric: int, body: bytes, more: dict[int, list[int]]) -> bytes:
    height, width = shape
    size = {256: [width], 257: [height], 258: [bits], 259: [1], 262: [photometric], 277: [1]}
    return tiff(size | {273: [8], 278: [height], 279: [len(body)]} | more, body)
