"""What a frozen file answers about many photographs, on all cores at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mlcycle.artifact.seal import read_sealed
from mlcycle.datasets.member import Member, PhotoPath
from mlcycle.errors import MlcycleError, ModelFileError, UnreadableError, UsageError
from mlcycle.inference.decoding import images
from mlcycle.inference.detect import Detector, Options, load_detector, load_sealed
from mlcycle.inference.record import Source


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model gave for one photograph, down to its score floor.

    `boxes_M4` are x1 y1 x2 y2, and `landmarks_M52` (None from a model without them) x y, in pixels of the upright
    photograph, best first; `error` is a code and a sentence.
    """

    boxes_M4: np.ndarray
    scores_M: np.ndarray
    milliseconds: dict[str, float]
    error: tuple[str, str] | None = None
    landmarks_M52: np.ndarray | None = None


def open_detector(model: Path, long_side: int | None) -> Detector:
    """Opens a model file that is to be asked about labelled photographs, on one thread of the processor.

    Raises:
        UsageError: a long side was given for a file with an input of one size.
        ModelFileError: the model file cannot be used, or is a run's folder.
    """
    if model.is_dir():
        raise ModelFileError(
            f"{model} is a folder, and a model file is asked", f"freeze the run first: mlcycle freeze {model}"
        )
    detector = load_detector(model, provider="cpu", threads=1)
    if detector.contract.input_size is not None and long_side is not None:
        raise UsageError(f"{model} takes inputs of one size only", "leave out --long-side, or ask its parent")
    return detector


def answer_all(detector: Detector, paths: list[PhotoPath], long_side: int | None, workers: int) -> Iterator[Answer]:
    """Yields an answer for each photograph, in order, from this process or from several others.

    Args:
        long_side: of the input in pixels; None takes the contract's, 0 the photograph's own size.
        workers: processes, one thread each.

    Raises:
        ModelFileError: the model file was replaced meanwhile.
        MlcycleError: a process was ended from outside.
    """
    if workers <= 1:
        yield from (_answer(detector, path, long_side) for path in paths)
        return
    # Spawned, not forked: onnxruntime's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_Worker.open, initargs=(detector.path, detector.sha256, long_side)
    )
    try:
        yield from pool.map(_Worker.answer, paths, chunksize=2)
    except BrokenProcessPool:
        raise MlcycleError(
            "a process that ran the model was ended from outside", "was memory short? try --workers 1"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker:
    """What a spawned process keeps: the model, loaded once, or why it could not be."""

    detector: Detector
    long_side: int | None
    problem: MlcycleError | None = None

    @classmethod
    def open(cls, model: Path, sha256: str, long_side: int | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
        cls.long_side = long_side
        try:
            sealed = read_sealed(model)
            if sealed.sha256 != sha256:
                raise ModelFileError(f"{model} was replaced while it was being evaluated", "run it again")
            cls.detector = load_sealed(sealed, provider="cpu", threads=1)
        except MlcycleError as problem:
            cls.problem = problem

    @classmethod
    def answer(cls, path: PhotoPath) -> Answer:
        if cls.problem:
            raise cls.problem
        return _answer(cls.detector, path, cls.long_side)


def bytes_of(path: PhotoPath) -> bytes:
    """Returns a photograph's bytes, from its file or from the shard that it lies in.

    Raises:
        UnreadableError: there are none to be had.
    """
    if not isinstance(path, Member):
        return images.read(path)
    try:
        return path.read_bytes()
    except OSError as problem:
        code = "not-found" if isinstance(problem, FileNotFoundError) else "unreadable"
        raise UnreadableError(code, f"its shard cannot be read: {problem.strerror or problem}") from None


def _answer(detector: Detector, path: PhotoPath, long_side: int | None) -> Answer:
    options = Options(threshold=detector.contract.selection.score_floor, long_side=long_side)
    try:
        source = Source(Path(str(path)), str(path), data=bytes_of(path) if isinstance(path, Member) else None)
    except UnreadableError as problem:
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return Answer(*nothing, {}, (problem.code, problem.message))
    record = detector.look([source], options)[0]
    return Answer(record.boxes_N4, record.scores_N, record.milliseconds, record.error, record.landmarks_N52)
