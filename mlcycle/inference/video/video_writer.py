"""Writes a copy of a video with changed frames: upright, at the same times, with the original sound.

Frames are encoded again, by encoders with permissive licences: libavcodec's own for MPEG-4, libvpx for VP9. H.264 is
not used, because PyAV's only encoder for it, x264, is under the GPL. The copy has only frames and sound: no title, date
or location, no subtitles, chapters, covers or data tracks.
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
# PyAV's numbers for the matrices between RGB and the stored pixels, and for the range of stored values.
_MATRICES = {1: 1, 5: 5, 6: 5, 9: 9}
_LIMITED = 1
_TRANSPOSED = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)

ChangeFrame = Callable[[int, Image.Image], Image.Image]
OrderedMap = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class _OutputFrame:
    """A frame to write: PyAV's VideoFrame, its time and duration in the stream's units, and if it is transposed."""

    frame: Any
    pts: int | None
    duration: int
    transposed: bool


def write(
    video: Video, path: Path, change: ChangeFrame, ordered_map: OrderedMap, *, overwrite: bool = False, token: str = ""
) -> int:
    """Writes the copy atomically, and returns its number of frames.

    An existing file with the same bytes is kept.

    Args:
        video: the open video.
        change: takes a frame's number, counted from 1, and its upright RGB image, and returns the one to write.
        ordered_map: maps a function over an iterable in order, as worker_threads.ordered_map does.
        overwrite: whether another file may be replaced.
        token: common part of a run's temporary names.

    Raises:
        FileExistsError: another file exists, and `overwrite` is off.
        UnreadableError: the video is damaged.
        OSError, ValueError: it cannot be written, or the container does not support its sound.
    """
    with files.atomic(path, overwrite=overwrite, token=token, durable=False) as file:
        return _write(video, Path(file.name), path.suffix.lower(), change, ordered_map)


def _write(video: Video, temporary: Path, suffix: str, change: ChangeFrame, ordered_map: OrderedMap) -> int:
    av = library()

    def encode(item: Frame | Any) -> _OutputFrame | Any:
        return _output_frame(av, item, change) if isinstance(item, Frame) else item

    options = {"fflags": "+bitexact"}  # else the container gets the writer's version
    with av.open(f"file:{temporary}", "w", format=_FORMATS[suffix], container_options=options) as container:
        writer = _Writer(container, video, "libvpx-vp9" if suffix == ".webm" else "mpeg4")
        for item in ordered_map(encode, video.walk()):
            if isinstance(item, _OutputFrame):
                writer.write_frame(item)
            elif item.dts is not None:
                writer.write_sound(item)
        writer.close()
    return writer.count


def _output_frame(av: Any, frame: Frame, change: ChangeFrame) -> _OutputFrame:
    """Changes a frame, in any thread, and converts it back with the original's colour matrix."""
    decoded = frame.decoded
    image = av.VideoFrame.from_image(change(frame.number, frame.upright()))
    matrix = _MATRICES.get(int(decoded.colorspace))
    stored = image.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=_LIMITED, threads=1)
    stored.color_primaries, stored.color_trc = decoded.color_primaries, decoded.color_trc
    return _OutputFrame(stored, decoded.pts, decoded.duration or 0, frame.transpose in _TRANSPOSED)


class _Writer:
    """The output streams; they are added with the first frame, because they need its size."""

    def __init__(self, container: Any, video: Video, codec: str) -> None:
        self.count = 0
        self._container, self._video, self._codec = container, video, codec
        self._stream: Any = None
        self._sounds: dict[Any, Any] = {}
        self._early: list[Any] = []
        self._times: dict[int, tuple[int, int]] = {}
        self._last: int | None = None

    def write_frame(self, output: _OutputFrame) -> None:
        if self._stream is None:
            self._begin(output)
        pts = output.pts
        if pts is None or (self._last is not None and pts <= self._last):
            pts = 0 if self._last is None else self._last + 1
        self._last = pts
        # The encoder gets frame numbers as times, because it may not represent the original ones; _mux restores these.
        output.frame.pts, output.frame.time_base = self.count, self._stream.codec_context.time_base
        self._times[self.count] = (pts, output.duration)
        self.count += 1
        self._mux(self._stream.encode(output.frame))

    def write_sound(self, packet: Any) -> None:
        if self._stream is None:
            self._early.append(packet)
            return
        packet.stream = self._sounds[packet.stream]
        self._container.mux_one(packet)

    def close(self) -> None:
        self._mux(self._stream.encode(None))

    def _begin(self, first: _OutputFrame) -> None:
        self._stream = self._video_stream(first)
        try:
            self._sounds = {sound: self._container.add_stream_from_template(sound) for sound in self._video.sounds}
        except ValueError:
            raise ValueError(f"{self._container.format.name} does not support its audio codec") from None
        for packet in self._early:
            self.write_sound(packet)

    def _video_stream(self, first: _OutputFrame) -> Any:
        frame, original = first.frame, self._video.stream
        stream = self._container.add_stream(self._codec, rate=_rate(original))
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.time_base = original.time_base
        context = stream.codec_context
        context.time_base = 1 / _rate(original)
        context.colorspace, context.color_range = frame.colorspace, _LIMITED
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        if shape := original.sample_aspect_ratio:
            context.sample_aspect_ratio = 1 / shape if first.transposed else shape
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
    # MPEG-4 has sixteen bits for the units of a second.
    return rate if 0 < rate.numerator < 1 << 16 else Fraction(min(max(round(rate), 1), 1000))
