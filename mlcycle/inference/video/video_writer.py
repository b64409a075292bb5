"""Writes a copy of a video with changed frames: upright, at the same times, with the sound.

Frames and sound are decoded, and their samples encoded again, so that nothing else can pass: no title, date or
location, no comment inside a codec's header or packets, no subtitles, chapters, covers or data tracks. Browsers play
the copies: VP9 (libvpx) and Opus (libopus) in MP4 or WebM. H.264 is not used, because PyAV's only encoder for it, x264,
is under the GPL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from mlcycle import files
from mlcycle.inference.record import VP9_CRF
from mlcycle.inference.video.frames import Frame, Video, library
from mlcycle.inference.video.sound_encoder import SoundEncoder

_VP9 = {"crf": str(VP9_CRF), "b:v": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1"}
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
        path: WebM if its suffix is .webm, else MP4.
        change: takes a frame's number, counted from 1, and its upright RGB image, and returns the one to write.
        ordered_map: maps a function over an iterable in order, as worker_threads.ordered_map does.
        overwrite: whether another file may be replaced.
        token: common part of a run's temporary names.

    Raises:
        FileExistsError: another file exists, and `overwrite` is off.
        UnreadableError: the video is damaged.
        OSError, ValueError: it cannot be written, or its sound cannot be decoded.
    """
    format = "webm" if path.suffix.lower() == ".webm" else "mp4"
    with files.atomic(path, overwrite=overwrite, token=token, durable=False) as file:
        return _write(video, Path(file.name), format, change, ordered_map)


def _write(video: Video, temporary: Path, format: str, change: ChangeFrame, ordered_map: OrderedMap) -> int:
    av = library()

    def encode(item: Frame | Any) -> _OutputFrame | Any:
        return _output_frame(av, item, change) if isinstance(item, Frame) else item

    options = {"fflags": "+bitexact"}  # else the container gets the writer's version
    with av.open(f"file:{temporary}", "w", format=format, container_options=options) as container:
        writer = _Writer(container, video)
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

    def __init__(self, container: Any, video: Video) -> None:
        self.count = 0
        self._container, self._video = container, video
        self._stream: Any = None
        self._sounds: dict[Any, SoundEncoder] = {}
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
        for encoded in self._sounds[packet.stream].encode(packet):
            self._container.mux_one(encoded)

    def close(self) -> None:
        self._mux(self._stream.encode(None))
        for sound in self._sounds.values():
            for encoded in sound.close():
                self._container.mux_one(encoded)

    def _begin(self, first: _OutputFrame) -> None:
        self._stream = self._video_stream(first)
        self._sounds = {sound: SoundEncoder(self._container, sound) for sound in self._video.sounds}
        for packet in self._early:
            self.write_sound(packet)

    def _video_stream(self, first: _OutputFrame) -> Any:
        frame, original = first.frame, self._video.stream
        stream = self._container.add_stream("libvpx-vp9", rate=_rate(original))
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.time_base = original.time_base
        context = stream.codec_context
        context.time_base = 1 / _rate(original)
        context.colorspace, context.color_range = frame.colorspace, _LIMITED
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        if shape := original.sample_aspect_ratio:
            context.sample_aspect_ratio = 1 / shape if first.transposed else shape
        context.options = {"flags": "+bitexact"} | _VP9
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
    return rate if rate > 0 else Fraction(1)  # of a frame in an hour nothing is left
