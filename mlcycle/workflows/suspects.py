"""The conductor of `mlcycle data suspects`: a frozen file and a labelled set → the labels it contradicts most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.datasets import image_header, reading
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.errors import DataError
from mlcycle.evaluation.contradiction import NO_FACE, Contradiction, contradictions
from mlcycle.evaluation.evidence import Case
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.detect import Detector
from mlcycle.workflows.predictions import Answer, answer_all, open_detector

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Suspect:
    """One thing about a set that may be wrong.

    Attributes:
        image: the one it is of.
        label: the number of the label in the image, from 1; 0 for a face without a label.
        kind: one of mlcycle.evaluation.contradiction.KINDS.
        bits: how strongly it is contradicted: log2 of a ratio, see there.
        score: the detector's, of the face it found there, or 0.
        overlap: of label and detection, intersection over union.
        labelled_4, suggested_4: x1 y1 x2 y2 in pixels of the upright image; None: no label, no face.
    """

    image: LabelledImage
    label: int
    kind: str
    bits: float
    score: float
    overlap: float
    labelled_4: np.ndarray | None
    suggested_4: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Suspects:
    """All labels and all faces without one, the most suspicious first.

    `unreadable` are a name, a code and a sentence of each image that gave no answer; its labels are not judged.
    """

    listed: list[Suspect]
    images: int
    labels: int
    unreadable: list[tuple[str, str, str]]
    model: str

    def likely(self) -> list[Suspect]:
        """Returns those whose evidence is more frequent about wrong labels than about the labels of this set."""
        return [each for each in self.listed if each.bits > 0]


@dataclass(frozen=True, slots=True)
class Options:
    """What to look at, and how.

    Attributes:
        split: of the data set; may be "" where it has only one.
        long_side: the input's long side in pixels; None takes the contract's, 0 the image's own size.
        workers: threads; 0 takes one for each core.
    """

    split: str = ""
    long_side: int | None = None
    workers: int = 0


def find_suspects(model: Path, data: Path, options: Options, started: Callable[[int], Advance]) -> Suspects:
    """Asks a frozen file about every image of a set, and ranks the labels by how it contradicts them.

    Args:
        started: called once with the number of images; what it returns is called with 1 after each.

    Raises:
        UsageError: a long side was given for a file with an input of one size.
        ModelFileError: the model file cannot be used, or is a run's folder.
        DataError: the labelled set cannot be read, or has no labels to judge.
    """
    detector = open_detector(model, options.long_side)
    images = reading.read(data, options.split)
    answers = []
    advance = started(len(images))
    workers = min(options.workers or cores(), len(images))
    for answer in answer_all(detector, [each.path for each in images], options.long_side, workers):
        answers.append(answer)
        advance(1)
    return rank(images, answers, detector, options.long_side)


def rank(images: list[LabelledImage], answers: list[Answer], detector: Detector, long_side: int | None) -> Suspects:
    """Ranks the labels of images by what a detector answered about them.

    Raises:
        DataError: none of the images that could be read has a label.
    """
    pairs = list(zip(images, answers, strict=True))
    readable = [(image, answer) for image, answer in pairs if answer.error is None]
    cases = [_case(image, answer, detector, long_side) for image, answer in readable]
    labels = sum(int((~case.ignore_N).sum()) for case in cases)
    if not labels:
        raise DataError("there is no label to judge in this set", "name a set, or a split, with labelled faces")
    return Suspects(
        listed=[_suspect(each, *readable[each.case]) for each in contradictions(cases)],
        images=len(images),
        labels=labels,
        unreadable=[(image.name, *answer.error) for image, answer in pairs if answer.error is not None],
        model=detector.contract.name,
    )


def _case(image: LabelledImage, answer: Answer, detector: Detector, long_side: int | None) -> Case:
    size = _size(image)
    wanted = detector.contract.resize.long_side if long_side is None else long_side
    return Case(
        boxes_N4=image.boxes_N4.astype(float),
        ignore_N=image.ignore_N,
        points_N52=image.landmarks_N52.astype(float),
        found_M4=answer.boxes_M4.astype(float),
        scores_M=answer.scores_M.astype(float),
        found_points_M52=answer.landmarks_M52,
        size=size,
        shrink=min(1.0, wanted / max(size)) if wanted else 1.0,
    )


def _size(image: LabelledImage) -> tuple[int, int]:
    """Width, height in pixels; a format that only inference reads has those of its labels, if they say them."""
    try:
        return image_header.upright_size(image.path)
    except DataError:
        if image.size is None:
            raise
        return image.size


def _suspect(found: Contradiction, image: LabelledImage, answer: Answer) -> Suspect:
    has_suggestion = found.found >= 0 and found.kind != NO_FACE
    return Suspect(
        image=image,
        label=found.label + 1,
        kind=found.kind,
        bits=found.bits,
        score=found.score,
        overlap=found.overlap,
        labelled_4=image.boxes_N4[found.label] if found.label >= 0 else None,
        suggested_4=answer.boxes_M4[found.found] if has_suggestion else None,
    )
