"""Writes videos that hold texts in every place that a container and its codecs have for them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from small_videos import CODECS, RATE, SECRETS, SIZE, images

SECRET = b"secret"
_SOUND = {".mp4": "aac", ".mov": "aac", ".mkv": "vorbis", ".webm": "vorbis", ".avi": "libmp3lame"}
_WORDS = {
    ".mkv": "1\n00:00:00,000 --> 00:00:00,300\nsecret words\n\n",
    ".webm": "WEBVTT\n\n00:00.000 --> 00:00.300\nsecret words\n",
}


def write_secret_video(path: Path, count: int = 10) -> Path:
    """Writes a video with sound, titles, a place, chapters, subtitles, and texts inside the sound: where each may be.

    Vorbis has comments in its header (Matroska, WebM), MP3 an ID3 tag in its first packet (AVI).
    """
    import av

    with av.open(str(path), "w") as video:
        video.metadata.update(SECRETS | {"comment": "secret comment"})
        if path.suffix != ".avi":
            chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000)}
            video.set_chapters([chapter | {"metadata": {"title": "secret chapter"}}])
        stream = video.add_stream(CODECS.get(path.suffix, "mpeg4"), rate=RATE)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        sound = video.add_stream(_SOUND[path.suffix], rate=48_000, layout="stereo")
        for each in (stream, sound):
            each.metadata.update({"title": "secret track", "handler_name": "secret handler"})
        if _SOUND[path.suffix] == "vorbis":
            sound.codec_context.options = {"strict": "-2"}
            sound.codec_context.open()
            sound.codec_context.extradata = _with_comment(sound.codec_context.extradata)
        for packet in list(_subtitles(video, path)):
            video.mux(packet)
        for number, image_HW3 in enumerate(images(count)):
            frame = av.VideoFrame.from_ndarray(image_HW3, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            video.mux(stream.encode(frame))
        video.mux(stream.encode(None))
        for number, packet in enumerate(_tone(sound, 48_000 * count // RATE)):
            video.mux(_with_id3(packet, sound) if path.suffix == ".avi" and not number else packet)
    return path


def _with_comment(extradata: bytes) -> bytes:
    """Returns Vorbis's three headers, laced as Xiph does, with a vendor and a comment in the second."""
    first, second = extradata[1:3]
    identification, setup = extradata[3 : 3 + first], extradata[3 + first + second :]
    texts = [b"secret vendor", b"LOCATION=secret place"]
    lengths = [len(text).to_bytes(4, "little") for text in texts]
    comment = b"\x03vorbis" + lengths[0] + texts[0] + b"\1\0\0\0" + lengths[1] + texts[1] + b"\1"
    return bytes([2, len(identification), len(comment)]) + identification + comment + setup


def _with_id3(packet: Any, sound: Any) -> Any:
    import av

    title = b"TIT2\0\0\0\x0d\0\0\3secret title"
    tagged = av.Packet(b"ID3\3\0\0\0\0\0" + bytes([len(title)]) + title + bytes(packet))
    tagged.pts, tagged.dts, tagged.duration = packet.pts, packet.dts, packet.duration
    tagged.time_base, tagged.stream = packet.time_base, sound
    return tagged


def _subtitles(video: Any, path: Path) -> Iterator[Any]:
    """Adds a track of subtitles and yields its packets; AVI has none."""
    import av

    if path.suffix in _WORDS:
        file = path.with_suffix(".srt" if path.suffix == ".mkv" else ".vtt")
        file.write_text(_WORDS[path.suffix])
        with av.open(str(file)) as words:
            stream = video.add_stream_from_template(words.streams[0])
            for packet in words.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    yield packet
    elif path.suffix != ".avi":
        text = b"secret words"
        packet = av.Packet(len(text).to_bytes(2, "big") + text)
        packet.pts, packet.dts, packet.duration, packet.time_base = 0, 0, 100, Fraction(1, 1000)
        packet.stream = video.add_mux_stream("mov_text")
        yield packet


def _tone(sound: Any, count: int) -> Iterator[Any]:
    import av

    size = sound.codec_context.frame_size
    for begin in range(0, count - size + 1, size):
        wave_N = (np.sin(np.arange(begin, begin + size) / 20) / 4).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave_N, wave_N]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, begin, Fraction(1, 48_000)
        yield from sound.encode(frame)
    yield from sound.encode(None)
