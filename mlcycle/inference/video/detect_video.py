"""The conductor for a video: detects faces in its frames while the next ones are decoded, and copies the video."""

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
from mlcycle.inference.record import FinishedRecords, Part, Record, Source, unreadable
from mlcycle.inference.video import video_file

if TYPE_CHECKING:
    from mlcycle.inference.copies.redact import RedactionMethod


def detect_video(
    detector: Detector, video: Source, options: DetectOptions, *, every: float, finished: FinishedRecords | None
) -> Iterator[Record]:
    """Yields a record for each frame that is not finished; arguments as in pages_and_frames.detect_sources.

    Copies of the whole video are written after all frames, because a face missed in a frame is covered where it was
    found before and after it. The record of the last frame has the paths of the copies, or the error.
    """
    frames = frames_of(video, options.max_pixels, every)
    copies = {kind: path for kind, path in video.copies.items() if kind != "cropped"}
    detections = _Detections()

    def remaining() -> Iterator[Source]:
        for frame in frames:
            if finished is None or not finished.has(frame):
                yield frame
            elif copies:
                detections.add(finished.find(frame))

    if not copies:
        yield from detector.detect_all(remaining(), options)
        return
    last: Record | None = None
    for record in detector.detect_all(remaining(), options):
        if last is not None:
            yield last
        detections.add(record)
        last = record
    if last is not None:
        yield _with_copies(last, video, copies, detections, options)


class _Detections:
    """The faces of each frame by its number, rounded as in a record, and the first error."""

    def __init__(self) -> None:
        self.faces: dict[int, Faces] = {}
        self.error = ""

    def add(self, record: Record) -> None:
        number = record.part.number if record.part else 0
        if record.width:
            kept = (record.boxes_N4, 2), (record.scores_N, 6), (record.landmarks_N52, 2)
            boxes_N4, scores_N, landmarks_N52 = (_rounded(*each) for each in kept)
            self.faces[number] = boxes_N4, scores_N, landmarks_N52 if record.landmark_names else None
        # An error of writing a copy does not concern the faces.
        if record.error and record.error[0] not in ("exists", "not-written") and not self.error:
            self.error = f"frame {number:,}: {record.error[1]}"

    def count(self) -> int:
        """Returns the number of frames if all of them were analysed, else 0."""
        complete = not self.error and self.faces.keys() == set(range(1, len(self.faces) + 1))
        return len(self.faces) if complete else 0


def _rounded(values_N: np.ndarray | None, digits: int) -> np.ndarray:
    values_N = np.zeros((0, 5, 2)) if values_N is None else values_N
    rounded = [round(float(value), digits) for value in values_N.ravel()]
    return np.array(rounded, np.float64).reshape(values_N.shape)


def _with_copies(
    record: Record, video: Source, copies: Mapping[str, Path], detections: _Detections, options: DetectOptions
) -> Record:
    if not detections.count():
        code, why = record.error or ("not-written", f"not all of its frames were analysed; {detections.error}")
        return replace(record, error=(code, f"{why}; no copy of it is written"))
    written = dict(record.copies)
    for kind, path in copies.items():
        try:
            _write(kind, path, video, detections, options)
        except FileExistsError:
            return replace(record, copies=written, error=("exists", f"its {kind} copy {path} already exists"))
        except Exception as problem:  # PyAV has three dozen classes
            if (number := getattr(problem, "errno", None)) in files.FULL:
                raise OSError(number, os.strerror(number), str(path)) from problem  # all images would fail the same way
            why = getattr(problem, "strerror", None) or str(problem) or "not enough memory"
            error = ("not-written", f"its {kind} copy {path} cannot be written: {why}")
            return replace(record, copies=written, error=error)
        written[kind] = path.as_posix()
    return replace(record, copies=written)


def _write(kind: str, path: Path, source: Source, detections: _Detections, options: DetectOptions) -> None:
    from mlcycle.inference.batch.worker_threads import MAX_FETCHED_ITEMS, ordered_map
    from mlcycle.inference.video import video_writer

    parallel = partial(ordered_map, workers=options.workers, ahead=MAX_FETCHED_ITEMS)
    change = _redacting(detections, options.redaction) if kind == "redacted" else _drawing(detections)
    with video_file.open_video(source.path, options.max_pixels) as video:
        video_writer.write(video, path, change, parallel, overwrite=options.overwrite, token=options.token)


def _redacting(detections: _Detections, method: RedactionMethod) -> Callable[[int, Image.Image], Image.Image]:
    from mlcycle.inference.copies import redact
    from mlcycle.inference.video import temporal_smoothing

    found = [detections.faces[number][0] for number in range(1, detections.count() + 1)]
    boxes = temporal_smoothing.smooth_boxes(found)

    def change(number: int, image: Image.Image) -> Image.Image:
        if number > len(boxes):
            raise ValueError("the video has grown meanwhile")
        return redact.redact(image, boxes[number - 1], method)

    return change


def _drawing(detections: _Detections) -> Callable[[int, Image.Image], Image.Image]:
    from mlcycle.inference.copies import annotate

    def change(number: int, image: Image.Image) -> Image.Image:
        if number not in detections.faces:
            raise ValueError("the video has grown meanwhile")
        return annotate.draw(image, *detections.faces[number])

    return change


def frames_of(video: Source, max_pixels: int, every: float = 0.0) -> Iterator[Source]:
    """Yields each analysed frame of a video as a source, decoded on demand, with a folder for its crops.

    An error of the video becomes a last source with that error: for a frame if there were frames before it.
    """
    last = 0
    is_due = FrameSampler(every)
    try:
        for frame, count in video_file.read_frames(video.path, max_pixels):
            last = frame.number
            if is_due(frame.seconds):
                part = Part("frame", last, count, round(frame.seconds, 6))
                copies = {kind: path / str(last) for kind, path in video.copies.items() if kind == "cropped"}
                yield replace(video, part=part, image=frame.upright, copies=copies)
    except UnreadableError as problem:
        failed = Part("frame", last + 1) if last else None
        yield unreadable(replace(video, part=failed), problem)


class FrameSampler:
    """Selects the frames to analyse, one every `every` seconds; 0 selects all. Called with each frame's time."""

    def __init__(self, every: float) -> None:
        self._every, self._next = every, 0.0

    def __call__(self, seconds: float) -> bool:
        if not self._every:
            return True
        if seconds < self._next:
            return False
        # Slightly below a multiple of the interval, because 0.1 + 0.2 is not 0.3.
        self._next = ((seconds + 1e-6) // self._every + 1) * self._every - 1e-6
        return True
