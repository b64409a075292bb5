"""Runs several detectors on the same images, and computes their metrics and times."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from detectors import Detect, Detections, Detector

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.evaluation import coco, matches, operating_point, wider, wider_ground_truth
from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images
from mlcycle.workflows import evaluate

NO_DETECTIONS = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


@dataclass(slots=True)
class Results:
    """The detections of one detector on P images, in their order.

    Attributes:
        default, all_scores: boxes_N4 (x1 y1 x2 y2, pixels of the upright image) and scores_N; see detectors.py.
        wall, cpu: milliseconds of wall time and of processor time of each `default` call; NaN after an error.
        failures: the name of each image on which the detector raised an error, and the error.
    """

    default: list[Detections] = field(default_factory=list)
    all_scores: list[Detections] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of one detector; undefined ones are NaN.

    Attributes:
        ap50: COCO's average precision at IoU 0.5.
        levels: WIDER FACE's average precisions by level; empty without its official ground truth.
        recall, false_alarms: share of the faces found, and false alarms per image, at the default threshold.
        median, p95: milliseconds of wall time per image, at the default threshold.
        cpu: median milliseconds of processor time: less than `median` if other work took the core, more only with
            more than one thread.
        ratio: median over the images of its processor time over that of the first detector.
        failed: number of images on which it raised an error.
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


def detect_all(
    detectors: list[Detector], labelled_images: list[LabelledImage], long_side: int, advance: Callable[[int], None]
) -> tuple[list[Results], list[tuple[str, str]]]:
    """Runs all detectors on each image before the next: pixels in memory, the same for all.

    An unreadable image has no detections, so its faces count as missed. `long_side` is in pixels, 0 for
    the image's own size; it is never enlarged. `advance` is called with 1 after each.

    Returns the results of each detector, and name and reason of each unreadable image.
    """
    results, unreadable, warm = [Results() for _ in detectors], [], False
    for number, image in enumerate(labelled_images):
        try:
            image_HW3, frame = _image(image.path, long_side)
        except images.UnreadableError as problem:
            unreadable.append((image.name, problem.message))
            for each in results:
                _record(each, NO_DETECTIONS, NO_DETECTIONS, np.nan, np.nan)
        else:
            if not warm:
                warm = True
                for detector in detectors:  # the first call takes longer, and is not counted
                    _timed(detector.default, image_HW3, Results(), "")
            _detect(detectors, results, number, (image.name, image_HW3, frame))
        advance(1)
    return results, unreadable


def _image(path: Path, long_side: int) -> tuple[np.ndarray, letterbox.Frame]:
    image_HW3, frame = letterbox.shrink(images.decode(images.read(path)).upright(), long_side)
    return np.array(image_HW3), frame  # a copy: some peers need a writable array


def _detect(
    detectors: list[Detector],
    results: list[Results],
    number: int,
    image: tuple[str, np.ndarray, letterbox.Frame],
) -> None:
    name, image_HW3, frame = image
    default: dict[int, tuple[Detections, float, float]] = {}
    for turn in range(len(detectors)):
        # Another detector begins each time, so that none always follows the same one.
        place = (number + turn) % len(detectors)
        default[place] = _timed(detectors[place].default, image_HW3, results[place], name)
    for place, detector in enumerate(detectors):
        all_scores, _, _ = _timed(detector.all_scores, image_HW3, results[place], name)
        found, wall, cpu = default[place]
        _record(results[place], _in_image(found, frame), _in_image(all_scores, frame), wall, cpu)


def _timed(detect: Detect, image_HW3: np.ndarray, results: Results, name: str) -> tuple[Detections, float, float]:
    """Returns detections, and milliseconds of wall and processor time; an error is recorded once for each image."""
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        found = detect(image_HW3)
    except Exception as problem:  # any error of another project
        if not results.failures or results.failures[-1][0] != name:
            results.failures.append((name, f"{type(problem).__name__}: {' '.join(str(problem).split())[:120]}"))
        return NO_DETECTIONS, np.nan, np.nan
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return found, wall * 1000, cpu * 1000


def _record(results: Results, default: Detections, all_scores: Detections, wall: float, cpu: float) -> None:
    results.default.append(default)
    results.all_scores.append(all_scores)
    results.wall.append(wall)
    results.cpu.append(cpu)


def _in_image(found: Detections, frame: letterbox.Frame) -> Detections:
    boxes_N4, scores_N = found
    return letterbox.boxes_to_image(boxes_N4, frame), np.asarray(scores_N, np.float32)


def metrics(
    detectors: list[Detector],
    results: list[Results],
    images: list[LabelledImage],
    official: evaluate.OfficialFaces,
) -> list[Row]:
    """Returns the metrics of each detector; `official` is WIDER FACE's ground truth, empty for another set."""
    truths = [(each.boxes_N4, each.ignore_N) for each in images]
    first_P = np.array(results[0].cpu)
    return [
        _row(detector, each, truths, first_P, _levels(images, each, official))
        for detector, each in zip(detectors, results, strict=True)
    ]


def _row(
    detector: Detector, results: Results, truths: list[matches.Truth], first_P: np.ndarray, levels: dict[str, float]
) -> Row:
    all_scores, default = (
        matches.match_images(truths, found, max_detections=evaluate.MAX_DETECTIONS, ranges=())
        for found in (results.all_scores, results.default)
    )
    point = operating_point.at_threshold(default, -np.inf)
    wall_P, cpu_P = np.array(results.wall), np.array(results.cpu)
    measured_P = ~np.isnan(wall_P)
    both_P = measured_P & (first_P > 0)
    return Row(
        detector=detector,
        ap50=coco.summarise(all_scores).ap50,
        levels=levels,
        recall=point.recall,
        false_alarms=point.false_alarms,
        median=_quantile(wall_P[measured_P], 0.5),
        p95=_quantile(wall_P[measured_P], 0.95),
        cpu=_quantile(cpu_P[measured_P], 0.5),
        ratio=_quantile(cpu_P[both_P] / first_P[both_P], 0.5),
        failed=len(results.failures),
    )


def _quantile(values: np.ndarray, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else float("nan")


def _levels(images: list[LabelledImage], results: Results, official: evaluate.OfficialFaces) -> dict[str, float]:
    named = [
        (evaluate.official_name(image), image.scale, *found)
        for image, found in zip(images, results.all_scores, strict=True)
    ]
    known = [each for each in named if each[0] in official]
    if not known:
        return {}
    levels = wider.average_precision(
        [official[name].boxes_N4 for name, *_ in known],
        {level: [official[name].counted[level] for name, *_ in known] for level in wider.LEVELS},
        # The ground truth is in pixels of the official images; the files can be smaller copies of them.
        [(boxes_N4 / np.tile(scale, 2), scores_N) for _, scale, boxes_N4, scores_N in known],
    )
    return {name: level.ap for name, level in levels.items()}


def official_faces(data: Path, split: str) -> evaluate.OfficialFaces:
    """Returns WIDER FACE's official ground truth; empty for another set or split.

    Raises:
        DataError: it exists, but cannot be read.
        ModuleNotFoundError: it exists, and scipy is not installed.
    """
    folder = data / "ground_truth"
    return wider_ground_truth.read(folder) if split == "val" and wider_ground_truth.is_here(folder) else {}
