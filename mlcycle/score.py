"""The conductor of `mlcycle evaluate`: a frozen file and labelled photographs → figures; reads from top to bottom."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

import numpy as np

from mlcycle.datasets import reading
from mlcycle.datasets.photograph import LabelledPhotograph
from mlcycle.errors import DataError, MlcycleError, ModelFileError
from mlcycle.evaluation import bootstrap, coco, operating, wider, wider_ground_truth
from mlcycle.evaluation.figures import Figures, Subject, WiderFigures
from mlcycle.inference.detect import Detector, load_detector

# COCO says 100; photographs of crowds hold more faces than that.
MAX_DETECTIONS = 1000
FALSE_ALARMS_PER_PHOTOGRAPH = 0.1

OfficialFaces = dict[str, wider_ground_truth.OfficialFaces]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to evaluate on, and how.

    Attributes:
        split: of the data set; "" takes val if there is one, else the only one.
        long_side: the input's long side in pixels; None takes the contract's, 0 the photograph's own size.
        workers: processes, one thread each; 0 takes one for each core.
        limit: only so many photographs, spread evenly over the set; 0 takes all.
    """

    split: str = ""
    long_side: int | None = None
    workers: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model gave for one photograph, down to its score floor.

    `boxes_M4` are x1 y1 x2 y2 in pixels of the upright photograph, best first; `error` is a code and a sentence.
    """

    boxes_M4: np.ndarray
    scores_M: np.ndarray
    milliseconds: dict[str, float]
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures, with the photographs they are of and the answers behind them, in one order."""

    figures: Figures
    photographs: list[LabelledPhotograph]
    answers: list[Answer]

    def detections(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yields name, boxes_M4 and scores_M of each photograph."""
        for photograph, answer in zip(self.photographs, self.answers, strict=True):
            yield photograph.name, answer.boxes_M4, answer.scores_M


def evaluate(model: Path, data: Path, options: Options, started: Callable[[int], Advance]) -> Outcome:
    """Runs a frozen file over labelled photographs and measures what it finds.

    Args:
        model: the file, which is verified; each process verifies the bytes it loads, and that they are the same.
        data: a labelled set in any layout that mlcycle.datasets reads.
        options: see Options.
        started: called once with the number of photographs, before the first; what it returns is called with 1 after
            each.

    Raises:
        ModelFileError: the model file cannot be used, or was replaced meanwhile.
        DataError: the labelled set, or WIDER FACE's ground truth beside it, cannot be read.
        ModuleNotFoundError: there is such ground truth, and scipy is not installed.
    """
    detector = load_detector(model, provider="cpu", threads=1)
    split = options.split or _usual_split(data)
    photographs = spread(reading.read(data, split), options.limit)
    official = _official(data, split)
    workers = min(options.workers or cores(), len(photographs))
    answers = []
    advance = started(len(photographs))
    for answer in _answers(detector, [each.path for each in photographs], options.long_side, workers):
        answers.append(answer)
        advance(1)
    subject = Subject(
        model=detector.contract.name,
        sha256=detector.sha256,
        data=str(data),
        split=split,
        fingerprint=reading.fingerprint(photographs),
        ignored=sum(int(each.ignore_N.sum()) for each in photographs),
        unreadable=_unreadable(photographs, answers),
        long_side=detector.contract.resize.long_side if options.long_side is None else options.long_side,
        score_floor=detector.contract.selection.score_floor,
        max_detections=MAX_DETECTIONS,
        processes=workers,
    )
    threshold = detector.contract.thresholds["balanced"]
    return Outcome(_figures(subject, photographs, answers, official, threshold), photographs, answers)


def _figures(
    subject: Subject,
    photographs: list[LabelledPhotograph],
    answers: list[Answer],
    official: OfficialFaces,
    threshold: float,
) -> Figures:
    matches = coco.match_photographs(
        [(each.boxes_N4, each.ignore_N) for each in photographs],
        [(each.boxes_M4, each.scores_M) for each in answers],
        max_detections=subject.max_detections,
    )
    return Figures(
        subject=subject,
        coco=coco.summarise(matches),
        wider=_wider(photographs, answers, official) if official else None,
        balanced=operating.at_threshold(matches, threshold),
        quiet=operating.at_false_alarms(matches, FALSE_ALARMS_PER_PHOTOGRAPH),
        quiet_recall=bootstrap.interval(lambda weights_P: _quiet_recall(matches, weights_P), len(photographs)),
        milliseconds=_mean_milliseconds(answers),
    )


def spread(photographs: list[LabelledPhotograph], limit: int) -> list[LabelledPhotograph]:
    """Takes `limit` photographs, evenly over the list, so that a sorted set is not cut off after its first events."""
    if not 0 < limit < len(photographs):
        return photographs
    return [photographs[place * len(photographs) // limit] for place in range(limit)]


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _usual_split(data: Path) -> str:
    return "val" if "val" in reading.splits(data) else ""


def _official(data: Path, split: str) -> OfficialFaces:
    folder = data / "ground_truth"
    return wider_ground_truth.read(folder) if split == "val" and wider_ground_truth.is_here(folder) else {}


def _answers(detector: Detector, paths: list[Path], long_side: int | None, workers: int) -> Iterator[Answer]:
    """Yields an answer for each photograph, in order, from this process or from several others."""
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
            cls.detector = load_detector(model, provider="cpu", threads=1)
            if cls.detector.sha256 != sha256:
                cls.problem = ModelFileError(f"{model} was replaced while it was being evaluated", "run it again")
        except MlcycleError as problem:
            cls.problem = problem

    @classmethod
    def answer(cls, path: Path) -> Answer:
        if cls.problem:
            raise cls.problem
        return _answer(cls.detector, path, cls.long_side)


def _answer(detector: Detector, path: Path, long_side: int | None) -> Answer:
    record = detector.detect_file(path, long_side=long_side, threshold=detector.contract.selection.score_floor)
    return Answer(record.boxes_N4, record.scores_N, record.milliseconds, record.error)


def _unreadable(photographs: list[LabelledPhotograph], answers: list[Answer]) -> list[tuple[str, str, str]]:
    return [
        (photograph.name, *answer.error)
        for photograph, answer in zip(photographs, answers, strict=True)
        if answer.error is not None
    ]


def _wider(photographs: list[LabelledPhotograph], answers: list[Answer], official: OfficialFaces) -> WiderFigures:
    named = ((official_name(each), each.scale, answer) for each, answer in zip(photographs, answers, strict=True))
    here = [(official[name], scale, answer) for name, scale, answer in named if name in official]
    if not here:
        raise DataError(
            "none of the photographs is in the ground truth of WIDER FACE", "the files in ground_truth are those of val"
        )
    levels = wider.average_precision(
        [faces.boxes_N4 for faces, _, _ in here],
        {level: [faces.counted[level] for faces, _, _ in here] for level in wider.LEVELS},
        # The ground truth is in pixels of the official photographs, of which the files may be smaller copies.
        [(answer.boxes_M4 / np.tile(scale, 2), answer.scores_M) for _, scale, answer in here],
    )
    return WiderFigures(levels, len(here), len(official))


def official_name(photograph: LabelledPhotograph) -> str:
    """Returns a photograph's name in the official ground truth: EVENT/STEM."""
    return f"{photograph.group}/{PurePosixPath(photograph.name).stem}"


def _quiet_recall(matches: coco.Matches, weights_P: np.ndarray) -> float:
    return operating.at_false_alarms(matches, FALSE_ALARMS_PER_PHOTOGRAPH, weights_P).recall


def _mean_milliseconds(answers: list[Answer]) -> dict[str, float]:
    read = [answer.milliseconds for answer in answers if answer.error is None]
    return {stage: float(np.mean([each[stage] for each in read])) for stage in (read[0] if read else ())}
