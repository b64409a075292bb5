"""The gate of a variant without labelled images: parent and variant must find the same faces."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.artifact.contract import InputSize
from mlcycle.counted import counted
from mlcycle.errors import GateError, InputError
from mlcycle.evaluation import matching
from mlcycle.inference.detect import Detector, load_detector
from mlcycle.inference.record import Record

# Share of the faces of either that both must find, the IoU at which two boxes match, and the largest mean difference of
# their scores.
LEAST_SHARED, LEAST_IOU, MOST_SCORE_DIFFERENCE = 0.95, 0.5, 0.02

# Image file → detections with scores of at least half the threshold.
Detect = Callable[[Path], Record]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement between parent and variant.

    Attributes:
        images: number of compared images.
        faces: faces of either above the balanced threshold; a face of both counts once.
        shared: share of the faces of each that the other finds too.
        score: mean score difference of the faces of both.
        overlap: their mean IoU.
        unreadable: number of unreadable images.
    """

    images: int
    faces: int
    shared: float
    score: float
    overlap: float
    unreadable: int = 0

    @property
    def good(self) -> bool:
        """Returns whether the agreement is good enough for the gate."""
        return self.shared >= LEAST_SHARED and self.score <= MOST_SCORE_DIFFERENCE

    def __str__(self) -> str:
        skipped = f" ({self.unreadable} more are unreadable)" if self.unreadable else ""
        return (
            f"{counted(self.images, 'image')}{skipped}, {counted(self.faces, 'face')}: {self.shared:.1%} found by both,"
            f" with a mean IoU of {self.overlap:.2f} and a mean score difference of {self.score:.3f}"
        )


def agree(parent: Path, variant: Path, images: Sequence[Path]) -> Agreement:
    """Runs parent and variant on image files and compares the faces above the balanced threshold.

    If the variant has a fixed input size, the parent runs at the same scale.

    Raises:
        GateError: they disagree, or no face was found.
        InputError: none of the images can be read.
    """
    return agree_both(load_detector(parent, provider="cpu"), load_detector(variant, provider="cpu"), images)


def agree_both(parent: Detector, variant: Detector, images: Sequence[Path]) -> Agreement:
    """Does the same with loaded detectors.

    Raises:
        GateError: they disagree, or no face was found.
    """
    threshold, size = parent.contract.thresholds["balanced"], variant.contract.input_size

    @functools.lru_cache(maxsize=1)  # the parent needs an image's size, and the comparison then asks for it again
    def detect_variant(image: Path) -> Record:
        return variant.detect_file(image, threshold=threshold / 2)

    def detect_parent(image: Path) -> Record:
        sides = None if size is None else _long_sides(detect_variant(image), size)
        return parent.detect_file(image, threshold=threshold / 2, long_sides=sides)

    agreement = compare(detect_parent, detect_variant, threshold, images)
    if not agreement.good:
        raise GateError(
            f"parent and variant disagree: {agreement}; {LEAST_SHARED:.0%} and {MOST_SCORE_DIFFERENCE:g} are required",
            "pass more or other images with --images, or labelled ones with --data; nothing was written",
        )
    return agreement


def _long_sides(record: Record, size: InputSize) -> tuple[int, ...] | None:
    """Returns the long side at which a variant with a fixed input size runs an image, for its parent to do the same."""
    if record.error:
        return None
    scale = min(1.0, size.width / record.width, size.height / record.height)
    return (math.floor(max(record.width, record.height) * scale + 0.5),)


def compare(one: Detect, other: Detect, threshold: float, paths: Sequence[Path]) -> Agreement:
    """Compares the faces above a threshold of two detectors, which return faces from half the threshold on.

    A face counts as found by the other from half the threshold on, because a score near the threshold can fall on
    either side.

    Raises:
        GateError: no face was found.
        InputError: none of the images can be read.
    """
    images = 0
    pairs: list[tuple[float, float]] = []
    faces = 0
    for path in paths:
        records = [one(path), other(path)]
        if any(record.error for record in records):
            continue
        images += 1
        for mine, theirs in (records, records[::-1]):
            for overlap, score, other_score in _pairs(mine, theirs, threshold):
                pairs.append((overlap, abs(score - other_score)))
                # A face that both find above the threshold is counted among those of the first.
                faces += mine is records[0] or overlap < LEAST_IOU or other_score < threshold
    if not images:
        raise InputError("none of the images can be read", "pass other images with --images")
    if not pairs:
        raise GateError(
            f"no face was found on {counted(images, 'image')}, so nothing could be compared",
            "pass images with faces with --images, or train longer",
        )
    overlaps_N, scores_N = np.array(pairs).T
    both_N = overlaps_N >= LEAST_IOU
    return Agreement(
        images,
        faces,
        float(both_N.mean()),
        float(scores_N[both_N].mean()) if both_N.any() else 1.0,
        float(overlaps_N[both_N].mean()) if both_N.any() else 0.0,
        len(paths) - images,
    )


def _pairs(mine: Record, other: Record, threshold: float) -> Iterator[tuple[float, float, float]]:
    """Yields for each face above the threshold its IoU with the best match of the other, and the scores of both."""
    above_N = mine.scores_N >= threshold
    if not len(other.boxes_N4):
        yield from ((0.0, float(score), 0.0) for score in mine.scores_N[above_N])
        return
    overlap_NM = matching.overlaps(mine.boxes_N4[above_N], other.boxes_N4, np.zeros(len(other.boxes_N4), bool))
    for row_M, score in zip(overlap_NM, mine.scores_N[above_N], strict=True):
        nearest = int(row_M.argmax())
        yield float(row_M[nearest]), float(score), float(other.scores_N[nearest])
