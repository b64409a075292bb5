"""Writes a copy of a video whose frames were painted on: upright, at the same times, with the sound as it was.

Images are compressed anew, by encoders that everybody may use: libavcodec's own for MPEG-4, libvpx for VP9. H.264 is
left out, since the one encoder of it that PyAV brings, x264, is under the GPL. Nothing but images and sound is in the
copy: no title, day or place, no subtitles, chapters, covers or tracks of other data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from mlcycle import files
from mlcycle.inference.record import MPEG4_QUANTISER, VP9_CRF
from mlcycle.inference.video.frames import Frame, Video, library

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
_VP9 = {"crf": str(VP9_CRF), "b:v": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
# Names of PyAV's numbers: the matrices between RGB and what is stored, and the range of stored numbers.
_MATRICES = {1: 1, 5: 5, 6: 5, 9: 9}
_LIMITED = 1
_TRANSPOSED = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)

Paint = Callable[[int, Image.Image], Image.Image]
SideBySide = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class _Painted:
    """A frame to be written: PyAV's VideoFrame, its time and duration in the stream's units, and its shape."""

    frame: Any
    pts: int | None
    duration: int
    transposed: bool


def write(
    video: Video, path: Path, paint: Paint, side_by_side: SideBySide, *, overwrite: bool = False, token: str = ""
) -> int:
    """Writes the copy whole or not at all, and returns how many frames it has.

    Args:
        film: the open video.
        paint: takes a frame's number, from 1 on, and its upright RGB image, and returns the one to write.
        side_by_side: maps a function over an iterable, in order, as lanes.ordered_map does.
        overwrite: whether another file may be replaced; one of the very same bytes is no other file.
        token: what the temporary names of a run have in common.

    Raises:
        FileExistsError: another file is there, and `overwrite` is off.
        UnreadableError: the video is damaged.
        OSError, ValueError: it cannot be written, or the container does not take its sound.
    """
    with files.atomic(path, overwrite=overwrite, token=token, durable=False) as file:
        return _write(video, Path(file.name), path.suffix.lower(), paint, side_by_side)


def _write(video: Video, temporary: Path, suffix: str, paint: Paint, side_by_side: SideBySide) -> int:
    av = library()

    def work(thing: Frame | Any) -> _Painted | Any:
        return _painted(av, thing, paint) if isinstance(thing, Frame) else thing

    options = {"fflags": "+bitexact"}  # else the writer puts its version in
    with av.open(f"file:{temporary}", "w", format=_FORMATS[suffix], container_options=options) as container:
        writer = _Writer(container, video, "libvpx-vp9" if suffix == ".webm" else "mpeg4")
        for thing in side_by_side(work, video.walk()):
            if isinstance(thing, _Painted):
                writer.show(thing)
            elif thing.dts is not None:
                writer.sound(thing)
        writer.close()
    return writer.count


def _painted(av: Any, frame: Frame, paint: Paint) -> _Painted:
    """Paints, in whichever thread; the colours go back by the matrix that they came by."""
    decoded = frame.decoded
    image = av.VideoFrame.from_image(paint(frame.number, frame.upright()))
    matrix = _MATRICES.get(int(decoded.colorspace))
    stored = image.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=_LIMITED, threads=1)
    stored.color_primaries, stored.color_trc = decoded.color_primaries, decoded.color_trc
    return _Painted(stored, decoded.pts, decoded.duration or 0, frame.turn in _TRANSPOSED)


class _Writer:
    """The streams of a copy; they begin with the first image, whose size they have to know."""

    def __init__(self, container: Any, video: Video, codec: str) -> None:
        self.count = 0
        self._container, self._video, self._codec = container, video, codec
        self._stream: Any = None
        self._sounds: dict[Any, Any] = {}
        self._early: list[Any] = []
        self._times: dict[int, tuple[int, int]] = {}
        self._last: int | None = None

    def show(self, painted: _Painted) -> None:
        if self._stream is None:
            self._begin(painted)
        pts = painted.pts
        if pts is None or (self._last is not None and pts <= self._last):
            pts = 0 if self._last is None else self._last + 1
        self._last = pts
        # The encoder counts frames; their own times, which it might not be able to write down, come back behind it.
        painted.frame.pts, painted.frame.time_base = self.count, self._stream.codec_context.time_base
        self._times[self.count] = (pts, painted.duration)
        self.count += 1
        self._mux(self._stream.encode(painted.frame))

    def sound(self, packet: Any) -> None:
        if self._stream is None:
            self._early.append(packet)
            return
        packet.stream = self._sounds[packet.stream]
        self._container.mux_one(packet)

    def close(self) -> None:
        self._mux(self._stream.encode(None))

    def _begin(self, painted: _Painted) -> None:
        self._stream = self._images(painted)
        try:
            self._sounds = {sound: self._container.add_stream_from_template(sound) for sound in self._video.sounds}
        except ValueError:
            raise ValueError(f"{self._container.format.name} does not take sound of its kind") from None
        for packet in self._early:
            self.sound(packet)

    def _images(self, painted: _Painted) -> Any:
        frame, original = painted.frame, self._video.stream
        stream = self._container.add_stream(self._codec, rate=_rate(original))
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.time_base = original.time_base
        context = stream.codec_context
        context.time_base = 1 / _rate(original)
        context.colorspace, context.color_range = frame.colorspace, _LIMITED
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        if shape := original.sample_aspect_ratio:
            context.sample_aspect_ratio = 1 / shape if painted.transposed else shape
        context.options = {"flags": "+bitexact"}
        if self._codec == "mpeg4":
            context.qmin = context.qmax = MPEG4_QUANTISER
            context.bit_rate, context.gop_size = 10**9, 50
        else:
            context.options |= _VP9
        return stream

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            pts, duration = self._times.pop(packet.pts)
            packet.time_base = self._video.stream.time_base
            packet.pts = packet.dts = pts
            packet.duration = duration
            self._container.mux_one(packet)


def _rate(original: Any) -> Fraction:
    rate = Fraction(original.average_rate or original.guessed_rate or 25).limit_denominator(1001)
    # MPEG-4 has sixteen bits for what a second is divided into.
    return rate if 0 < rate.numerator < 1 << 16 else Fraction(min(max(round(rate), 1), 1000))
