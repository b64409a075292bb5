"""Encodes the sound of a video again, as Opus: its samples pass, and nothing else that its packets may carry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlcycle.inference.video.frames import library

_RATE = 48_000  # Opus knows no higher one
_FRAME = 960  # samples of an Opus packet: 20 ms
_BITS_PER_CHANNEL = 80_000  # a second


class SoundEncoder:
    """An Opus stream of a container: mono stays mono, several channels become stereo."""

    def __init__(self, container: Any, original: Any) -> None:
        """Adds the stream; `original` is PyAV's audio stream of the open video."""
        av = library()
        channels = min(original.codec_context.layout.nb_channels, 2)
        layout = "mono" if channels == 1 else "stereo"
        self._stream = container.add_stream("libopus", rate=_RATE, layout=layout)
        self._stream.codec_context.bit_rate = channels * _BITS_PER_CHANNEL
        self._stream.codec_context.options = {"flags": "+bitexact"}
        self._resampler = av.AudioResampler(format="flt", layout=layout, rate=_RATE, frame_size=_FRAME)
        self._original, self._undecodable = original, av.FFmpegError
        self._is_silent, self._packets = True, 0

    def encode(self, packet: Any) -> Iterator[Any]:
        """Yields the packets to write for a packet of the original; one that cannot be decoded is left out."""
        self._packets += 1
        try:
            frames = self._original.decode(packet)
        except self._undecodable:
            return
        yield from self._encoded(frames)

    def close(self) -> Iterator[Any]:
        """Yields the last packets.

        Raises:
            ValueError: not one packet could be decoded.
        """
        yield from self._encoded(self._original.decode(None))
        if self._packets and self._is_silent:
            raise ValueError(f"its sound ({self._original.codec_context.name}) cannot be decoded")
        if not self._is_silent:
            for samples in self._resampler.resample(None):
                yield from self._stream.encode(samples)
        yield from self._stream.encode(None)

    def _encoded(self, frames: list[Any]) -> Iterator[Any]:
        for frame in frames:
            self._is_silent = False
            for samples in self._resampler.resample(frame):
                yield from self._stream.encode(samples)
