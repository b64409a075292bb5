"""The frames of an open video, from a file or a camera, as the decoder returns them.

PyAV is imported only when a video is opened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mlcycle.errors import UnreadableError

# A video that ends this many seconds before its container's duration is truncated.
_MAX_MISSING_SECONDS = 0.5
# a, b, c, d of the display matrix → the transposition that makes the stored image upright.
_TRANSPOSES = {
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame from the decoder.

    Attributes:
        number: counted from 1 in display order.
        seconds: since the first frame.
        decoded: PyAV's VideoFrame, in the stored pixel format: at most half the bytes of RGB.
        transpose: makes these pixels upright; None if they are, or if the rotation is not a multiple of 90 degrees.
    """

    number: int
    seconds: float
    decoded: Any
    transpose: Image.Transpose | None = None

    def upright(self) -> Image.Image:
        """Returns the upright 8-bit RGB image; it may be called in another thread than the decoder's."""
        plane = self.decoded.reformat(format="rgb24", threads=1).planes[0]
        size = (plane.width, plane.height)
        # PyAV's own to_image copies row by row, which takes five times as long as everything else here.
        image = Image.frombuffer("RGB", size, plane, "raw", "RGB", plane.line_size, 1)
        return image if self.transpose is None else image.transpose(self.transpose)


@dataclass(frozen=True, slots=True)
class Video:
    """An open video.

    Attributes:
        container: PyAV's InputContainer.
        stream: the video stream.
        sounds: the audio streams with a known codec.
        count: number of frames, if the container has a list of them.
    """

    container: Any
    stream: Any
    sounds: tuple[Any, ...] = ()
    count: int | None = None

    def walk(self) -> Iterator[Frame | Any]:
        """Yields frames, and between them audio packets, in the order of the file.

        Raises:
            UnreadableError: unsupported, empty, truncated or damaged, after all frames before the damage.
        """
        frames = _FrameCounter(self.stream)
        ends = dict.fromkeys((self.stream, *self.sounds), 0.0)
        for packet in self._packets(frames):
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                ends[packet.stream] = max(ends[packet.stream], end)
            if packet.stream is not self.stream:
                yield packet
            elif packet.has_sidedata("encryption_info"):
                raise UnreadableError("unsupported", "it is encrypted")
            else:
                yield from self._decoded(packet, frames)
        if not frames.last:
            raise UnreadableError("empty", "it contains no frame")
        self._must_be_whole(ends, frames)

    def _packets(self, frames: _FrameCounter) -> Iterator[Any]:
        packets = self.container.demux(self.stream, *self.sounds)
        while True:
            try:
                packet = next(packets, None)
            except BlockingIOError:  # a camera that has no frame yet
                time.sleep(0.005)
                packets = self.container.demux(self.stream, *self.sounds)
                continue
            except Exception as problem:
                why = getattr(problem, "strerror", None) or problem
                raise UnreadableError("damaged", f"it cannot be read after {frames.position()}: {why}") from None
            if packet is None:
                return
            yield packet

    def _decoded(self, packet: Any, frames: _FrameCounter) -> Iterator[Frame]:
        if packet.is_corrupt:  # not sent to the decoder, which would conceal missing data
            yield from frames.number(self.stream.decode(None))
            raise UnreadableError("truncated", f"it is truncated after {frames.position()}")
        try:
            decoded = packet.decode()
        except Exception:
            yield from frames.number(self.stream.decode(None))
            raise UnreadableError("damaged", f"it is damaged after {frames.position()}") from None
        yield from frames.number(decoded)

    def _must_be_whole(self, ends: dict[Any, float], frames: _FrameCounter) -> None:
        stream, reached = self.stream, ends[self.stream]
        if self.container.format.name == "avi":  # its duration is computed from the size of the truncated file
            declared = float(stream.frames / stream.average_rate) if stream.average_rate else 0.0
        elif stream.duration is not None:
            declared = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
        else:
            declared, reached = (self.container.duration or 0) / 1e6, max(ends.values())
        if declared - reached > _MAX_MISSING_SECONDS:
            raise UnreadableError("truncated", f"it is truncated after {frames.position()} of {declared:.1f}")


class _FrameCounter:
    """Numbers frames and computes their times."""

    def __init__(self, stream: Any) -> None:
        self.last = 0
        self._stream = stream
        self._first: float | None = None
        self._seconds = 0.0
        self._transpose: Image.Transpose | None = None

    def number(self, decoded: list[Any]) -> Iterator[Frame]:
        for frame in decoded:
            self.last += 1
            if self.last == 1:  # only once: PyAV's frame and its side data refer to each other and would leak memory
                self._transpose = _transpose(frame)
            if frame.pts is None:  # then frames are evenly spaced
                rate = self._stream.average_rate or self._stream.guessed_rate or 25
                shown = (self._first or 0.0) + (self.last - 1) / float(rate)
            else:
                shown = float(frame.pts * self._stream.time_base)
            self._first = shown if self._first is None else self._first
            self._seconds = max(0.0, shown - self._first)  # in a damaged file a frame may precede the first
            yield Frame(self.last, self._seconds, frame, self._transpose)

    def position(self) -> str:
        """Returns e.g. "120 frames, 4.0 s"."""
        return f"{self.last:,} frame{'s' * (self.last != 1)}, {self._seconds:.1f} s"


def _transpose(frame: Any) -> Image.Transpose | None:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    numbers_9 = np.frombuffer(matrix, np.int32)
    a, b, c, d = np.rint(numbers_9[[0, 1, 3, 4]] / 65536).astype(int).tolist()
    return _TRANSPOSES.get((a, b, c, d))


def library() -> Any:
    """Returns PyAV.

    Raises:
        UnreadableError: unsupported, it is not installed; the message names the extra.
    """
    try:
        import av
    except ModuleNotFoundError:
        message = "videos need the extra video, which is not installed; see mlcycle doctor"
        raise UnreadableError("unsupported", message) from None
    return av
