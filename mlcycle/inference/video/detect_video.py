"""The conductor of a video: each of its frames is an image, and is looked at while the next ones are decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mlcycle import files
from mlcycle.errors import UnreadableError
from mlcycle.inference.detect import DetectOptions, Detector, Faces
from mlcycle.inference.record import Part, Record, Source, failing
from mlcycle.inference.video import video_file as videos

if TYPE_CHECKING:
    from mlcycle.inference.copies.redact import RedactionMethod


def watch(
    detector: Detector,
    video: Source,
    options: DetectOptions,
    *,
    every: float,
    known: Callable[[Source], bool],
    recall: Callable[[tuple[bytes, int]], Record] | None,
) -> Iterator[Record]:
    """Yields a record for each frame; `every`, `known` and `recall` as in parts.detect_all.

    Copies of the whole video are written when all frames were looked at, since a face that was missed in a frame is
    covered where it was found before and behind it. The record of the last frame says where they are, or why not.
    """
    frames = frames_of(video, options.max_pixels, every)
    wanted = {kind: path for kind, path in video.copies.items() if kind != "cropped"}
    if not wanted:
        yield from detector.detect_all((frame for frame in frames if not known(frame)), options)
        return
    seen = _Seen()

    def unknown() -> Iterator[Source]:
        for frame in frames:
            if not known(frame):
                yield frame
            elif recall is not None:
                seen.add(recall(frame.identity))

    last: Record | None = None
    for record in detector.detect_all(unknown(), options):
        if last is not None:
            yield last
        seen.add(record)
        last = record
    if last is not None:
        yield _with_copies(last, video, wanted, seen, options)


class _Seen:
    """What was found in each frame, by its number, to the digits that a record keeps; and what went wrong first."""

    def __init__(self) -> None:
        self.faces: dict[int, Faces] = {}
        self.error = ""

    def add(self, record: Record) -> None:
        number = record.part.number if record.part else 0
        if record.width:
            kept = (record.boxes_N4, 2), (record.scores_N, 6), (record.landmarks_N52, 2)
            boxes_N4, scores_N, landmarks_N52 = (_rounded(*each) for each in kept)
            self.faces[number] = boxes_N4, scores_N, landmarks_N52 if record.landmark_names else None
        # A copy that could not be written says nothing of the faces.
        if record.error and record.error[0] not in ("exists", "not-written") and not self.error:
            self.error = f"frame {number:,}: {record.error[1]}"

    def count(self) -> int:
        """Returns how many frames there are, if all of them were looked at, else 0."""
        whole = not self.error and self.faces.keys() == set(range(1, len(self.faces) + 1))
        return len(self.faces) if whole else 0


def _rounded(values_N: np.ndarray | None, digits: int) -> np.ndarray:
    values_N = np.zeros((0, 5, 2)) if values_N is None else values_N
    rounded = [round(float(value), digits) for value in values_N.ravel()]
    return np.array(rounded, np.float64).reshape(values_N.shape)


def _with_copies(
    record: Record, video: Source, wanted: Mapping[str, Path], seen: _Seen, options: DetectOptions
) -> Record:
    if not seen.count():
        code, why = record.error or ("not-written", f"not all of its frames could be looked at; {seen.error}")
        return replace(record, error=(code, f"{why}; no copy of it is written"))
    written = dict(record.copies)
    for kind, path in wanted.items():
        try:
            _write(kind, path, video, seen, options)
        except FileExistsError:
            return replace(record, copies=written, error=("exists", f"its {kind} copy {path} exists already"))
        except Exception as problem:  # PyAV has three dozen classes
            if (number := getattr(problem, "errno", None)) in files.FULL:
                raise OSError(number, os.strerror(number), str(path)) from problem  # every image would fail alike
            why = getattr(problem, "strerror", None) or str(problem) or "memory is short"
            error = ("not-written", f"its {kind} copy {path} cannot be written: {why}")
            return replace(record, copies=written, error=error)
        written[kind] = path.as_posix()
    return replace(record, copies=written)


def _write(kind: str, path: Path, source: Source, seen: _Seen, options: DetectOptions) -> None:
    from mlcycle.inference.batch.worker_threads import AT_HAND, ordered_map
    from mlcycle.inference.video import video_writer

    side_by_side = partial(ordered_map, workers=options.workers, ahead=AT_HAND)
    paint = _redacting(seen, options.redaction) if kind == "redacted" else _drawing(seen)
    with videos.opened(source.path, options.max_pixels) as video:
        video_writer.write(video, path, paint, side_by_side, overwrite=options.overwrite, token=options.token)


def _redacting(seen: _Seen, way: RedactionMethod) -> Callable[[int, Image.Image], Image.Image]:
    from mlcycle.inference.copies import redact
    from mlcycle.inference.video import temporal_smoothing

    boxes = temporal_smoothing.smooth_boxes([seen.faces[number][0] for number in range(1, seen.count() + 1)])

    def paint(number: int, image: Image.Image) -> Image.Image:
        if number > len(boxes):
            raise ValueError("it has become longer meanwhile")
        return redact.redact(image, boxes[number - 1], way)

    return paint


def _drawing(seen: _Seen) -> Callable[[int, Image.Image], Image.Image]:
    from mlcycle.inference.copies import annotate

    def paint(number: int, image: Image.Image) -> Image.Image:
        if number not in seen.faces:
            raise ValueError("it has become longer meanwhile")
        return annotate.draw(image, *seen.faces[number])

    return paint


def frames_of(video: Source, max_pixels: int, every: float = 0.0) -> Iterator[Source]:
    """Gives each frame of a video as a source of its own, decoded as it is asked for, with a folder for its crops.

    What stops it gives a last source, whose image is its error: a part of the video if there were frames before.
    """
    last = 0
    is_due = Due(every)
    try:
        for frame, count in videos.looked_through(video.path, max_pixels):
            last = frame.number
            if is_due(frame.seconds):
                part = Part("frame", last, count, round(frame.seconds, 6))
                copies = {kind: path / str(last) for kind, path in video.copies.items() if kind == "cropped"}
                yield replace(video, part=part, image=frame.upright, copies=copies)
    except UnreadableError as problem:
        part_of = Part("frame", last + 1) if last else None
        yield failing(replace(video, part=part_of), problem)


class Due:
    """Tells of one frame after the other whether it is to be looked at, if one every so many seconds is; 0 is all."""

    def __init__(self, every: float) -> None:
        self._every, self._next = every, 0.0

    def __call__(self, seconds: float) -> bool:
        if not self._every:
            return True
        if seconds < self._next:
            return False
        # A little less than a whole multiple, since 0.1 + 0.2 is not 0.3.
        self._next = ((seconds + 1e-6) // self._every + 1) * self._every - 1e-6
        return True
