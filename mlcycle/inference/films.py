"""The conductor of a video: each of its frames is a picture, and is looked at while the next ones are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from PIL import Image

from mlcycle.inference import video as videos
from mlcycle.inference.reading import UnreadableError
from mlcycle.inference.record import Part, Record, Source

if TYPE_CHECKING:
    from mlcycle.inference.detect import Detector, Options


def watch(
    detector: Detector, video: Source, options: Options, *, every: float, known: Callable[[Source], bool]
) -> Iterator[Record]:
    """Yields a record for each frame; `every` and `known` as in parts.detect_all."""
    frames = frames_of(video, options.max_pixels, every)
    yield from detector.detect_all((frame for frame in frames if not known(frame)), options)


def frames_of(video: Source, max_pixels: int, every: float = 0.0) -> Iterator[Source]:
    """Gives each frame of a video as a source of its own, decoded as it is asked for, with a folder for its crops.

    What stops it gives a last source, whose picture is its error: a part of the video if there were frames before.
    """
    last, due = 0, 0.0
    try:
        for frame, count in videos.looked_through(video.path, max_pixels):
            last = frame.number
            if frame.seconds >= due:
                due = _next_time(frame.seconds, every)
                part = Part("frame", last, count, round(frame.seconds, 6))
                copies = {kind: path / str(last) for kind, path in video.copies.items() if kind == "cropped"}
                yield replace(video, part=part, picture=frame.upright, copies=copies)
    except UnreadableError as problem:
        part_of = Part("frame", last + 1) if last else None
        yield replace(video, part=part_of, picture=_raising(problem), copies={})


def _next_time(seconds: float, every: float) -> float:
    # A little less than a whole multiple, since 0.1 + 0.2 is not 0.3.
    return ((seconds + 1e-6) // every + 1) * every - 1e-6 if every else 0.0


def _raising(problem: UnreadableError) -> Callable[[], Image.Image]:
    def picture() -> NoReturn:
        raise problem

    return picture
