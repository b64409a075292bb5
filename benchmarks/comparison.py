"""Several detectors over the same images in one run: what each found, how long it took, and the figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from detectors import Detector, Found, Look

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.evaluation import coco, matches, operating_point, wider, wider_ground_truth
from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images
from mlcycle.workflows import evaluate

NOTHING = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


@dataclass(slots=True)
class Answers:
    """What one detector gave for P images, in their order.

    Attributes:
        usual, everything: boxes_N4 (x1 y1 x2 y2, pixels of the upright image) and scores_N; see detectors.py.
        wall, cpu: milliseconds of each usual answer by the clock on the wall, and of the processor; NaN without one.
        failures: the name of each image on which the detector raised an error, and what it said.
    """

    usual: list[Found] = field(default_factory=list)
    everything: list[Found] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one detector; those that do not exist are NaN.

    Attributes:
        ap50: COCO's average precision at IoU 0.5.
        levels: WIDER FACE's average precisions by level; empty without its official ground truth.
        recall, false_alarms: share of the faces found, and false alarms an image, by default.
        median, p95: milliseconds an image by the clock on the wall, by default.
        cpu: the median of the processor's milliseconds: less than `median` where other work was in the way, more only
            if there was more than one thread.
        ratio: median, image by image, of the processor's time over that of the first detector.
        failed: on how many images it raised an error.
    """

    detector: Detector
    ap50: float
    levels: dict[str, float]
    recall: float
    false_alarms: float
    median: float
    p95: float
    cpu: float
    ratio: float
    failed: int


def look_at_all(
    detectors: list[Detector], labelled_images: list[LabelledImage], long_side: int, advance: Callable[[int], None]
) -> tuple[list[Answers], list[tuple[str, str]]]:
    """Shows each image to all detectors before the next: pixels in memory, the same for all.

    An image that cannot be read is shown to nobody, and its faces count as missed. `long_side` is in pixels, 0 for
    the image's own size; it is never enlarged. `advance` is called with 1 after each.

    Returns the answers of each detector, and name and reason of each image that could not be read.
    """
    answers, unreadable, warm = [Answers() for _ in detectors], [], False
    for number, image in enumerate(labelled_images):
        try:
            image_HW3, frame = _image(image.path, long_side)
        except images.UnreadableError as problem:
            unreadable.append((image.name, problem.message))
            for each in answers:
                _note(each, NOTHING, NOTHING, np.nan, np.nan)
        else:
            if not warm:
                warm = True
                for detector in detectors:  # the first answer of all takes longer, and is not counted
                    _timed(detector.usual, image_HW3, Answers(), "")
            _show(detectors, answers, number, (image.name, image_HW3, frame))
        advance(1)
    return answers, unreadable


def _image(path: Path, long_side: int) -> tuple[np.ndarray, letterbox.Frame]:
    image_HW3, frame = letterbox.shrink(images.decode(images.read(path)).upright(), long_side)
    return np.array(image_HW3), frame  # a copy: some peers insist on pixels that could be written to


def _show(
    detectors: list[Detector],
    answers: list[Answers],
    number: int,
    shown: tuple[str, np.ndarray, letterbox.Frame],
) -> None:
    name, image_HW3, frame = shown
    usual: dict[int, tuple[Found, float, float]] = {}
    for turn in range(len(detectors)):
        # Another one begins each time, so that nobody always comes after the same.
        place = (number + turn) % len(detectors)
        usual[place] = _timed(detectors[place].usual, image_HW3, answers[place], name)
    for place, detector in enumerate(detectors):
        everything, _, _ = _timed(detector.everything, image_HW3, answers[place], name)
        found, wall, cpu = usual[place]
        _note(answers[place], _in_image(found, frame), _in_image(everything, frame), wall, cpu)


def _timed(look: Look, image_HW3: np.ndarray, answers: Answers, name: str) -> tuple[Found, float, float]:
    """Returns what was found, and the milliseconds on the wall and of the processor; an error is noted, once a name."""
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        found = look(image_HW3)
    except Exception as problem:  # whatever another project may raise
        if not answers.failures or answers.failures[-1][0] != name:
            answers.failures.append((name, f"{type(problem).__name__}: {' '.join(str(problem).split())[:120]}"))
        return NOTHING, np.nan, np.nan
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return found, wall * 1000, cpu * 1000


def _note(answers: Answers, usual: Found, everything: Found, wall: float, cpu: float) -> None:
    answers.usual.append(usual)
    answers.everything.append(everything)
    answers.wall.append(wall)
    answers.cpu.append(cpu)


def _in_image(found: Found, frame: letterbox.Frame) -> Found:
    boxes_N4, scores_N = found
    return letterbox.boxes_to_image(boxes_N4, frame), np.asarray(scores_N, np.float32)


def metrics(
    detectors: list[Detector],
    answers: list[Answers],
    images: list[LabelledImage],
    official: evaluate.OfficialFaces,
) -> list[Row]:
    """Returns the figures of each detector; `official` is WIDER FACE's ground truth, empty for another set."""
    truths = [(each.boxes_N4, each.ignore_N) for each in images]
    first_P = np.array(answers[0].cpu)
    return [
        _row(detector, each, truths, first_P, _levels(images, each, official))
        for detector, each in zip(detectors, answers, strict=True)
    ]


def _row(
    detector: Detector, answers: Answers, truths: list[matches.Truth], first_P: np.ndarray, levels: dict[str, float]
) -> Row:
    everything, usual = (
        matches.match_images(truths, found, max_detections=evaluate.MAX_DETECTIONS, ranges=())
        for found in (answers.everything, answers.usual)
    )
    point = operating_point.at_threshold(usual, -np.inf)
    wall_P, cpu_P = np.array(answers.wall), np.array(answers.cpu)
    answered_P = ~np.isnan(wall_P)
    both_P = answered_P & (first_P > 0)
    return Row(
        detector=detector,
        ap50=coco.summarise(everything).ap50,
        levels=levels,
        recall=point.recall,
        false_alarms=point.false_alarms,
        median=_quantile(wall_P[answered_P], 0.5),
        p95=_quantile(wall_P[answered_P], 0.95),
        cpu=_quantile(cpu_P[answered_P], 0.5),
        ratio=_quantile(cpu_P[both_P] / first_P[both_P], 0.5),
        failed=len(answers.failures),
    )


def _quantile(values: np.ndarray, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else float("nan")


def _levels(images: list[LabelledImage], answers: Answers, official: evaluate.OfficialFaces) -> dict[str, float]:
    named = [
        (evaluate.official_name(image), image.scale, *found)
        for image, found in zip(images, answers.everything, strict=True)
    ]
    here = [each for each in named if each[0] in official]
    if not here:
        return {}
    levels = wider.average_precision(
        [official[name].boxes_N4 for name, *_ in here],
        {level: [official[name].counted[level] for name, *_ in here] for level in wider.LEVELS},
        # The ground truth is in pixels of the official images, of which the files may be smaller copies.
        [(boxes_N4 / np.tile(scale, 2), scores_N) for _, scale, boxes_N4, scores_N in here],
    )
    return {name: level.ap for name, level in levels.items()}


def official_faces(data: Path, split: str) -> evaluate.OfficialFaces:
    """Returns WIDER FACE's official ground truth, or nothing where the set or the split is another.

    Raises:
        DataError: it is there, and cannot be read.
        ModuleNotFoundError: it is there, and scipy is not installed.
    """
    folder = data / "ground_truth"
    return wider_ground_truth.read(folder) if split == "val" and wider_ground_truth.is_here(folder) else {}
