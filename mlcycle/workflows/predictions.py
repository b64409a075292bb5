"""Runs a model file on many images, in several threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.datasets.member import ImagePath, Member
from mlcycle.errors import ModelFileError, UnreadableError
from mlcycle.inference.batch.worker_threads import ordered_map
from mlcycle.inference.decoding import images
from mlcycle.inference.detect import DetectOptions, Detector, load_detector
from mlcycle.inference.record import Source


@dataclass(frozen=True, slots=True)
class Prediction:
    """The detections of a model on one image, down to its score floor.

    `boxes_M4` are x1 y1 x2 y2, and `landmarks_M52` (None from a model without them) x y, in pixels of the upright
    image, best first; `milliseconds` are times by stage; `error` is a code and a sentence, or None.
    """

    boxes_M4: np.ndarray
    scores_M: np.ndarray
    milliseconds: dict[str, float]
    error: tuple[str, str] | None = None
    landmarks_M52: np.ndarray | None = None


def open_detector(model: Path, long_sides: tuple[int, ...] | None) -> Detector:
    """Opens a model file to run on many images, on the CPU with one thread for each image.

    Raises:
        UsageError: a long side was requested for a model with a fixed input size.
        ModelFileError: the model file cannot be used, or is a run's folder.
    """
    if model.is_dir():
        raise ModelFileError(f"{model} is a folder, not a model file", f"freeze the run first: mlcycle freeze {model}")
    detector = load_detector(model, provider="cpu", threads=1)
    detector.check_long_sides(long_sides)
    return detector


def predict_all(
    detector: Detector, paths: list[ImagePath], long_sides: tuple[int, ...] | None, workers: int
) -> Iterator[Prediction]:
    """Yields a prediction for each image, in order, from several threads that share the detector.

    Args:
        long_sides: of the input in pixels, 0 for the image's own size; None takes the contract's.
        workers: number of threads.
    """
    return ordered_map(lambda path: _predict(detector, path, long_sides), paths, workers)


def bytes_of(path: ImagePath) -> bytes:
    """Returns an image's bytes, from its file or from its shard.

    Raises:
        UnreadableError: the file or shard cannot be read.
    """
    if not isinstance(path, Member):
        return images.read(path)
    try:
        return path.read_bytes()
    except OSError as problem:
        code = "not-found" if isinstance(problem, FileNotFoundError) else "unreadable"
        raise UnreadableError(code, f"its shard cannot be read: {problem.strerror or problem}") from None


def _predict(detector: Detector, path: ImagePath, long_sides: tuple[int, ...] | None) -> Prediction:
    options = DetectOptions(threshold=detector.contract.selection.score_floor, long_sides=long_sides)
    try:
        source = Source(Path(str(path)), str(path), data=bytes_of(path) if isinstance(path, Member) else None)
    except UnreadableError as problem:
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return Prediction(*empty, {}, (problem.code, problem.message))
    record = detector.detect_batch([source], options)[0]
    return Prediction(record.boxes_N4, record.scores_N, record.milliseconds, record.error, record.landmarks_N52)
