"""Decodes a JPEG and finds out whether its compressed data is damaged, which libjpeg knows and Pillow does not pass on.

Damage rarely stops libjpeg: it decodes whatever follows, and ends too early or too late for the image. So the data of
each scan is given to the decoder in two parts. Before the last bytes it must not be finished, and with a few bytes more
than the whole it must be. The decoded pixels are the same as Pillow's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, pairwise

from PIL import Image, ImageFile

from mlcycle.inference.decoding import layout, limits

# Bytes at the end of a scan that the decoder must need, and zeros after it that it need not; it reads eight ahead.
_MARGIN = 32
# Bytes that are given one at a time to a decoder that seems to be finished, and may only be between two blocks.
_PROBES = 4
_SEQUENTIAL = b"\xc0\xc1"
_KNOWN = b"\xc0\xc1\xc2"  # arithmetic coding must have all of its data at once
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_RESTARTS = bytes(range(0xD0, 0xD8))
_ZEROS, _ONES = bytes(256), b"\xff" * 256


def load(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Decodes an opened JPEG, as `image.load` does; returns whether its compressed data is damaged.

    Raises:
        UnreadableError: too-large, it has too many scans or segments.
        OSError: truncated, or damaged in a way that cannot be decoded.
    """
    segments = list(islice(layout.jpeg_segments(data), 2 * limits.JPEG_SEGMENTS + 1))
    limits.refuse_above(2 * limits.JPEG_SEGMENTS, len(segments), "segments")
    scans = list(_scans(segments, data))
    limits.refuse_above(limits.JPEG_SCANS, len(scans), "scans")
    frame = next((marker for marker, _, _ in segments if marker in layout.JPEG_FRAMES), 0)
    if frame not in _KNOWN or not scans:
        image.load()
        return any(data.find(_ZEROS, *scan) >= 0 for scan in scans)
    image.load_prepare()
    feed = _Feed(image, data)
    try:
        is_whole = _decode(feed, scans)
    finally:
        feed.close()
    image.tile = []
    image.load()
    if frame in _SEQUENTIAL and len(scans) == 1 and data.find(_ZEROS, *scans[0]) >= 0:
        is_whole &= not _are_zeros_impossible(segments, data)
    is_whole &= all(data.find(_ONES, *scan) < 0 for scan in scans)
    # Of a scan that ended early the markers are not read: they may be all that follows, and a gigabyte.
    if is_whole and any(marker == layout.JPEG_RESTARTS for marker, _, _ in segments):
        is_whole = all(_are_restarts_in_order(data, *scan) for scan in scans)
    return not is_whole


class _Feed:
    """Pillow's decoder of an image, to which its file is given piece by piece."""

    def __init__(self, image: ImageFile.ImageFile, data: bytes) -> None:
        _, extents, _, arguments = image.tile[0]
        self._decoder = Image._getdecoder(image.mode, "jpeg", arguments, image.decoderconfig)
        self._decoder.setimage(image.im, extents)
        self._data, self._position, self.size = memoryview(data), 0, len(data)
        self._rest = b""  # what the decoder has not taken: the beginning of a block
        self.is_finished = False

    def up_to(self, end: int, padding: bytes = b"") -> None:
        """Decodes the file up to its byte `end`, and then other bytes.

        Raises:
            OSError: it cannot be decoded.
        """
        piece: bytes | memoryview = self._data[self._position : end]
        self._position = max(self._position, end)
        if self.is_finished:
            return
        if self._rest or padding:
            piece = b"".join((self._rest, piece, padding))
        taken, error = self._decoder.decode(piece)
        if error < 0:
            raise OSError("broken data stream when reading image file")
        self.is_finished = taken < 0
        self._rest = b"" if self.is_finished else bytes(piece[taken:])

    @property
    def is_within_a_block(self) -> bool:
        """Whether the decoder waits for the rest of a block; at the end of a scan it takes all bytes and skips them."""
        return bool(self._rest)

    def close(self) -> None:
        self._decoder.cleanup()


def _decode(feed: _Feed, scans: list[tuple[int, int]]) -> bool:
    """Decodes the whole file; returns whether each of its scans ended where its data does.

    Raises:
        OSError: truncated, or it cannot be decoded.
    """
    is_whole = True
    for start, end in scans:
        if end - start < 2 * _MARGIN:
            continue
        # Between two blocks the decoder takes all bytes too, but not for several bytes on end.
        is_whole &= any(_is_within_a_block(feed, end - _MARGIN + more) for more in range(_PROBES))
        feed.up_to(end, bytes(_MARGIN))
        is_whole &= not any(_is_within_a_block(feed, end, b"\0") for _ in range(_PROBES))
    feed.up_to(feed.size)
    if not feed.is_finished:
        raise OSError("image file is truncated")
    return is_whole


def _is_within_a_block(feed: _Feed, end: int, padding: bytes = b"") -> bool:
    feed.up_to(end, padding)
    return feed.is_within_a_block


def _scans(segments: list[tuple[int, int, int]], data: bytes) -> Iterator[tuple[int, int]]:
    """Yields the start and end of the compressed data of each scan."""
    for (marker, _, body), (_, end, _) in pairwise(segments):
        if marker == layout.JPEG_SCAN:
            yield body + int.from_bytes(data[body : body + 2]), end


def _are_restarts_in_order(data: bytes, start: int, end: int) -> bool:
    """Returns whether the restart markers of a scan count from 0 to 7 again and again."""
    markers = b"".join(_RESTART.findall(data, start, end))
    return markers == (_RESTARTS * (len(markers) // 8 + 1))[: len(markers)]


def _are_zeros_impossible(segments: list[tuple[int, int, int]], data: bytes) -> bool:
    """Returns whether zeros cannot stand for flat blocks: the shortest code of a table is not the end of a block."""
    for marker, _, body in segments:
        at, end = body + 2, body + int.from_bytes(data[body : body + 2])
        while marker == layout.JPEG_HUFFMAN and at + 17 < end:
            if data[at] >> 4 and data[at + 17] & 15:
                return True
            at += 17 + sum(data[at + 1 : at + 17])
    return False
