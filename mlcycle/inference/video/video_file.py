"""Video files: decoded frame by frame, or refused with an error of a stable code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import reading
from mlcycle.inference.video import frames
from mlcycle.inference.video.frames import Frame, Video

# The supported containers: MP4 and MOV, Matroska and WebM, AVI. Others, such as playlists, could open further files.
_CONTAINERS = "mov,matroska,avi"
# The first atoms of MP4 and MOV, after a length of four bytes.
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def read_frames(path: str | Path, max_pixels: int) -> Iterator[tuple[Frame, int | None]]:
    """Yields each frame of a video file with the number of frames, if known; few are in memory at a time.

    Raises:
        UnreadableError: not-found, not-a-file, no-permission, unreadable, empty, not-an-image, unsupported, too-large,
            truncated or damaged, after all frames before the damage.
    """
    with open_video(path, max_pixels) as video:
        for each in video.walk():
            if isinstance(each, Frame):
                yield each, video.count


@contextmanager
def open_video(path: str | Path, max_pixels: int) -> Iterator[Video]:
    """Opens a video file.

    Raises:
        UnreadableError: not-found, not-a-file, no-permission, unreadable, empty, not-an-image, unsupported, too-large
            or damaged.
    """
    _check_header(path)
    av = frames.library()
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{os.fspath(path)}", metadata_errors="replace", container_options=options)
    except Exception:  # PyAV has three dozen classes, and most come as "invalid data"
        why = "its list of frames is damaged, or missing because it is truncated"
        raise UnreadableError("damaged", why) from None
    with container:
        yield _video(container, max_pixels)


def _check_header(path: str | Path) -> None:
    with reading.open_file(path) as file:
        head = file.read(12)
    if not head:
        raise UnreadableError("empty", "the file is empty")
    if not (head[4:8] in _ATOMS or head.startswith(b"\x1a\x45\xdf\xa3") or (head[:4], head[8:]) == (b"RIFF", b"AVI ")):
        raise UnreadableError("not-an-image", "it is not a video of a known format")


def _video(container: Any, max_pixels: int) -> Video:
    # A cover image is a video stream too.
    streams = [each for each in container.streams.video if "attached_pic" not in str(each.disposition)]
    if not streams:
        raise UnreadableError("not-an-image", "it has no video stream")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        raise UnreadableError("unsupported", "its video codec is unknown")
    if context.width * context.height > max_pixels:
        size = f"{context.width} x {context.height}"
        raise UnreadableError("too-large", f"its frames have {size} pixels, more than {max_pixels:,}")
    context.options = {"max_pixels": str(max_pixels)}  # a frame may be larger than the first
    # With several decoder threads, the frames before damage would depend on the number of threads.
    stream.thread_type, stream.thread_count = "NONE", 1
    sounds = tuple(each for each in container.streams.audio if each.codec_context is not None)
    return Video(container, stream, sounds, _count(container, stream))


def _count(container: Any, stream: Any) -> int | None:
    if not stream.frames or "mp4" not in container.format.name:
        return None  # AVI guesses, and Matroska does not know
    return sum(not entry.is_discard for entry in stream.index_entries) or None
