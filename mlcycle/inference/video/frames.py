"""The frames of an open video, from a file or a camera, one after the other as they come out of the decoder.

PyAV is brought in by whoever looks at a video, and nobody else needs it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mlcycle.errors import UnreadableError

# A video that ends so many seconds before its container says so has lost its end.
_SHORT = 0.5
# Where x and y of a stored pixel go: a, b, c, d of the display matrix, and what turns the stored image upright.
_TURNS = {
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
    """A frame as it came out of the decoder.

    Attributes:
        number: from 1 on, in the order in which they are shown.
        seconds: since the first one.
        decoded: PyAV's VideoFrame, its pixels as they are stored: half the bytes of RGB, or less.
        turn: what makes these pixels upright; None where they are, or where no right angle would do it.
    """

    number: int
    seconds: float
    decoded: Any
    turn: Image.Transpose | None = None

    def upright(self) -> Image.Image:
        """Returns the image as a person sees it, 8-bit RGB; may be called in another thread than the decoding one."""
        plane = self.decoded.reformat(format="rgb24", threads=1).planes[0]
        size = (plane.width, plane.height)
        # PyAV's own to_image copies row by row, which takes five times as long as all the rest.
        image = Image.frombuffer("RGB", size, plane, "raw", "RGB", plane.line_size, 1)
        return image if self.turn is None else image.transpose(self.turn)


@dataclass(frozen=True, slots=True)
class Video:
    """An open video.

    Attributes:
        container: PyAV's InputContainer.
        stream: that of its images.
        sounds: those of its sound, where libav knows what they are.
        count: how many frames there are, where the container has a list of them.
    """

    container: Any
    stream: Any
    sounds: tuple[Any, ...] = ()
    count: int | None = None

    def walk(self) -> Iterator[Frame | Any]:
        """Yields frames, and between them packets of sound, as they lie in the file.

        Raises:
            UnreadableError: unsupported, empty, truncated or damaged, after all frames before the damage.
        """
        numbered = _Numbered(self.stream)
        ends = dict.fromkeys((self.stream, *self.sounds), 0.0)
        for packet in self._packets(numbered):
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                ends[packet.stream] = max(ends[packet.stream], end)
            if packet.stream is not self.stream:
                yield packet
            elif packet.has_sidedata("encryption_info"):
                raise UnreadableError("unsupported", "it is encrypted")
            else:
                yield from self._decoded(packet, numbered)
        if not numbered.last:
            raise UnreadableError("empty", "it holds no frame")
        self._must_be_whole(ends, numbered)

    def _packets(self, numbered: _Numbered) -> Iterator[Any]:
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
                raise UnreadableError("damaged", f"it cannot be read on after {numbered.said()}: {why}") from None
            if packet is None:
                return
            yield packet

    def _decoded(self, packet: Any, numbered: _Numbered) -> Iterator[Frame]:
        if packet.is_corrupt:  # not sent to the decoder, which would make up what is missing
            yield from numbered.frames(self.stream.decode(None))
            raise UnreadableError("truncated", f"it is cut short after {numbered.said()}")
        try:
            decoded = packet.decode()
        except Exception:
            yield from numbered.frames(self.stream.decode(None))
            raise UnreadableError("damaged", f"it is damaged after {numbered.said()}") from None
        yield from numbered.frames(decoded)

    def _must_be_whole(self, ends: dict[Any, float], numbered: _Numbered) -> None:
        stream, reached = self.stream, ends[self.stream]
        if self.container.format.name == "avi":  # whose duration is reckoned from the size of the file, and so cut too
            promised = float(stream.frames / stream.average_rate) if stream.average_rate else 0.0
        elif stream.duration is not None:
            promised = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
        else:
            promised, reached = (self.container.duration or 0) / 1e6, max(ends.values())
        if promised - reached > _SHORT:
            raise UnreadableError("truncated", f"it is cut short after {numbered.said()} of {promised:.1f}")


class _Numbered:
    """Counts frames and tells their time."""

    def __init__(self, stream: Any) -> None:
        self.last = 0
        self._stream = stream
        self._first: float | None = None
        self._seconds = 0.0
        self._turn: Image.Transpose | None = None

    def frames(self, decoded: list[Any]) -> Iterator[Frame]:
        for frame in decoded:
            self.last += 1
            if self.last == 1:  # not of each: PyAV's frame and its side data hold each other, and would stay in memory
                self._turn = _turn(frame)
            if frame.pts is None:  # then frames follow each other evenly
                rate = self._stream.average_rate or self._stream.guessed_rate or 25
                shown = (self._first or 0.0) + (self.last - 1) / float(rate)
            else:
                shown = float(frame.pts * self._stream.time_base)
            self._first = shown if self._first is None else self._first
            self._seconds = max(0.0, shown - self._first)  # of a broken file a frame may come before the first
            yield Frame(self.last, self._seconds, frame, self._turn)

    def said(self) -> str:
        return f"{self.last:,} frame{'s' * (self.last != 1)}, {self._seconds:.1f} s"


def _turn(frame: Any) -> Image.Transpose | None:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    numbers_9 = np.frombuffer(matrix, np.int32)
    a, b, c, d = np.rint(numbers_9[[0, 1, 3, 4]] / 65536).astype(int).tolist()
    return _TURNS.get((a, b, c, d))


def library() -> Any:
    """Returns PyAV.

    Raises:
        UnreadableError: unsupported, it is not installed; the sentence says how to install it.
    """
    try:
        import av
    except ModuleNotFoundError:
        message = "videos need a package that is not installed: pip install 'mlcycle[video]'"
        raise UnreadableError("unsupported", message) from None
    return av
