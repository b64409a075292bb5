"""Do parent and variant find the same faces? The gate of a variant whose boxes may move by a fraction of a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.errors import GateError, InputError
from mlcycle.evaluation import matching
from mlcycle.inference.detect import Detector, load_detector
from mlcycle.inference.record import Record

# Of the faces that either finds, this share must be found by the other, by this overlap, and their scores may be so far
# apart in the mean.
LEAST_SHARED, LEAST_IOU, MOST_SCORE_DIFFERENCE = 0.95, 0.5, 0.02

# Gets an image file and answers from half the threshold on.
Ask = Callable[[Path], Record]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far parent and variant agree.

    Attributes:
        images: how many both could read; `unreadable` how many not.
        faces: how many faces either found above the balanced threshold; one that both found counts twice.
        shared: the share of these that the other found as well.
        score: mean difference of the scores of those found by both.
        overlap: their mean intersection over union.
    """

    images: int
    faces: int
    shared: float
    score: float
    overlap: float
    unreadable: int = 0

    @property
    def good(self) -> bool:
        """Tells whether they find the same faces, as far as is asked for."""
        return self.shared >= LEAST_SHARED and self.score <= MOST_SCORE_DIFFERENCE

    def __str__(self) -> str:
        skipped = f" ({self.unreadable} more cannot be read)" if self.unreadable else ""
        return (
            f"{_counted(self.images)}{skipped}, {self.faces} faces: {self.shared:.1%} found by both, by a mean IoU"
            f" of {self.overlap:.2f} and with scores {self.score:.3f} apart in the mean"
        )


def agree(parent: Path, variant: Path, images: Sequence[Path]) -> Agreement:
    """Runs parent and variant over image files and compares the faces they find above the balanced threshold.

    Where the variant takes inputs of one size, its parent sees the images at the same scale.

    Raises:
        GateError: they part, or nothing could be compared.
        InputError: none of the images can be read.
    """
    return agree_both(load_detector(parent, provider="cpu"), load_detector(variant, provider="cpu"), images)


def agree_both(parent: Detector, variant: Detector, images: Sequence[Path]) -> Agreement:
    """Does the same with both loaded already.

    Raises:
        GateError: they part, or nothing could be compared.
    """
    threshold = parent.contract.thresholds["balanced"]

    def ask_parent(image: Path) -> Record:
        return parent.detect_file(image, threshold=threshold / 2, long_side=_long_side(image, variant))

    def ask_variant(image: Path) -> Record:
        return variant.detect_file(image, threshold=threshold / 2)

    agreement = compare(ask_parent, ask_variant, threshold, images)
    if not agreement.good:
        raise GateError(
            f"parent and variant part: {agreement}; {LEAST_SHARED:.0%} and {MOST_SCORE_DIFFERENCE:g} are asked for",
            "name more and other images by --images, or measure on labelled ones: --data; nothing was written",
        )
    return agreement


def _long_side(image: Path, variant: Detector) -> int | None:
    """Returns the long side at which a variant of one input size sees an image, for its parent to see the same."""
    size = variant.contract.input_size
    if size is None:
        return None
    record = variant.detect_file(image)
    if record.error:
        return None
    scale = min(1.0, size.width / record.width, size.height / record.height)
    return math.floor(max(record.width, record.height) * scale + 0.5)


def compare(one: Ask, other: Ask, threshold: float, paths: Sequence[Path]) -> Agreement:
    """Compares the faces above a threshold that two ways of asking find; they are asked from half the threshold on.

    A face counts as found by the other from there: on which side of the threshold a score falls may be luck.

    Raises:
        GateError: nothing could be compared.
        InputError: none of the images can be read.
    """
    images = 0
    pairs: list[tuple[float, float]] = []
    for path in paths:
        records = [one(path), other(path)]
        if any(record.error for record in records):
            continue
        images += 1
        for mine, theirs in (records, records[::-1]):
            pairs += _pairs(mine, theirs, threshold)
    if not images:
        raise InputError("none of the images can be read", "name others with --images")
    if not pairs:
        raise GateError(
            f"no face was found on {_counted(images)}, so nothing could be compared",
            "name images with faces by --images, or train longer",
        )
    overlaps_N, scores_N = np.array(pairs).T
    both_N = overlaps_N >= LEAST_IOU
    return Agreement(
        images,
        len(pairs),
        float(both_N.mean()),
        float(scores_N[both_N].mean()) if both_N.any() else 1.0,
        float(overlaps_N[both_N].mean()) if both_N.any() else 0.0,
        len(paths) - images,
    )


def _counted(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"


def _pairs(mine: Record, other: Record, threshold: float) -> Iterator[tuple[float, float]]:
    """Yields of each face above the threshold its overlap with the nearest of the other, and how far scores differ."""
    above_N = mine.scores_N >= threshold
    if not len(other.boxes_N4):
        yield from ((0.0, 1.0) for _ in range(int(above_N.sum())))
        return
    overlap_NM = matching.overlaps(mine.boxes_N4[above_N], other.boxes_N4, np.zeros(len(other.boxes_N4), bool))
    for row_M, score in zip(overlap_NM, mine.scores_N[above_N], strict=True):
        nearest = int(row_M.argmax())
        yield float(row_M[nearest]), abs(float(score) - float(other.scores_N[nearest]))
