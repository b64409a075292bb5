"""Writes small videos with a patch that the tiny model detects as a face, and with sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from tiny_model import GREEN

SIZE = (160, 120)
RATE = 25
SIDE = 40
CODECS = {".webm": "libvpx-vp9"}
# A redacted copy has none of these.
SECRETS = {"title": "secret title", "creation_time": "2020-02-02T02:02:02Z", "location": "+48.1234+011.5678/"}


def place(number: int) -> tuple[int, int]:
    """Returns x and y of the patch in frame `number`, counted from 0: it moves down to the right, then starts again."""
    return 10 + 2 * (number % 30), 10 + number % 30


def images(count: int, without: Sequence[int] = ()) -> Iterable[np.ndarray]:
    """Yields frames with the patch, except those in `without`."""
    width, height = SIZE
    rows_HW, columns_HW = np.indices((height, width))
    for number in range(count):
        image_HW3 = np.stack([rows_HW + 40, (rows_HW + columns_HW) // 2 + 30, columns_HW], axis=-1).astype(np.uint8)
        if number not in without:
            x, y = place(number)
            image_HW3[y : y + SIDE, x : x + SIDE] = GREEN
        yield image_HW3


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    sound: bool = False,
    sound_begins: float = 0,
    turned: tuple[float, bool, bool] | None = None,
    times: Sequence[int] | None = None,
    reordered: bool = False,
    metadata: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Writes a video in the format of its suffix.

    Args:
        frames: HxWx3, uint8 RGB.
        sound_begins: time of its first sample in seconds.
        turned: display rotation in degrees, and whether it is mirrored left to right and top to bottom.
        times: of each frame, in 1/1000 s; else RATE frames per second.
        reordered: whether the file has the frames in another order than they are displayed.
        options: of the container.
    """
    import av

    frames = iter(frames)
    first_HW3 = next(frames)
    with av.open(str(path), "w", options=options or {}) as video:
        video.metadata.update(metadata or {})
        stream = video.add_stream(CODECS.get(path.suffix, "mpeg4"), rate=RATE)
        stream.height, stream.width = first_HW3.shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        unit = Fraction(1, 1000 if times else RATE)
        stream.time_base = stream.codec_context.time_base = unit
        stream.codec_context.max_b_frames = 2 if reordered else 0
        if turned:
            stream.set_display_rotation(*turned)
        voice = _voice(video, path) if sound else None
        count = 0
        for image_HW3 in (first_HW3, *frames):
            frame = av.VideoFrame.from_ndarray(image_HW3, format="rgb24")
            frame.pts, frame.time_base = times[count] if times else count, unit
            count += 1
            video.mux(stream.encode(frame))
        video.mux(stream.encode(None))
        if voice:
            _speak(video, voice, count / RATE, sound_begins)
    return path


def _voice(video: Any, path: Path) -> Any:
    codec = {".webm": "libopus", ".avi": "pcm_s16le"}.get(path.suffix, "aac")
    return video.add_stream(codec, rate=48_000, layout="mono")


def _speak(video: Any, voice: Any, seconds: float, begins: float) -> None:
    import av

    tone_N = (np.sin(np.arange(int((seconds - begins) * 48_000)) / 20) * 8000).astype(np.int16)
    for begin in range(0, len(tone_N), 960):
        frame = av.AudioFrame.from_ndarray(tone_N[None, begin : begin + 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, begin + round(begins * 48_000)
        frame.time_base = Fraction(1, 48_000)
        video.mux(voice.encode(frame))
    video.mux(voice.encode(None))
