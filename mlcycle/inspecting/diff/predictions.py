"""Differences between the detections of two model files on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.evaluation.matching import overlaps
from mlcycle.inference.record import Record

MOST_SHOWN = 10
# Two boxes with at least this IoU match.
LEAST_IOU = 0.5

# Image file → detections with scores of at least half of the model file's threshold.
Detect = Callable[[Path], Record]


@dataclass(slots=True)
class _Compared:
    """The detections of two files on one or several images.

    Attributes:
        both: faces that both detect above their own thresholds.
        only_a, only_b: faces that only one detects.
        nearly_a, nearly_b: faces among them that the other scores between half of its threshold and its threshold.
        overlaps, scores: for faces that both detect, the IoU, and the score of B minus that of A.
    """

    both: int = 0
    only_a: int = 0
    only_b: int = 0
    nearly_a: int = 0
    nearly_b: int = 0
    overlaps: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, other: _Compared) -> None:
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def as_dict(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("both", "only_a", "only_b", "nearly_a", "nearly_b")}
        differences_N = np.abs(self.scores)
        return counts | {
            "mean_iou": float(np.mean(self.overlaps)) if self.both else None,
            "mean_score_difference": float(differences_N.mean()) if self.both else None,
            "largest_score_difference": float(differences_N.max()) if self.both else None,
            "mean_score_change": float(np.mean(self.scores)) if self.both else None,
        }

    def sort_key(self) -> tuple[int, float, float]:
        """Returns the sort key of an image: faces of only one file, then box differences, then score differences."""
        faces = self.only_a + self.only_b
        return faces, 1 - min(self.overlaps, default=1.0), float(np.abs(self.scores).max()) if self.scores else 0.0


def compare(
    one: Detect, other: Detect, thresholds: tuple[float, float], images: Sequence[Path], advance: Callable[[], None]
) -> dict[str, Any]:
    """Runs two model files on images, and returns their differences for a JSON document.

    Args:
        thresholds: the lowest score of a detection of A, and of B.
        advance: called after each image.
    """
    total, each_image, unreadable = _Compared(), [], []
    for image in images:
        records = one(image), other(image)
        advance()
        if any(record.error for record in records):
            unreadable.append(str(image))
            continue
        compared = _compare(*records, thresholds)
        total.add(compared)
        each_image.append((compared.sort_key(), image, compared))
    each_image.sort(key=lambda row: row[0], reverse=True)
    most = [(image, compared) for by, image, compared in each_image[:MOST_SHOWN] if any(by)]
    return {
        "images": len(each_image),
        "unreadable": unreadable,
        "thresholds": {"a": thresholds[0], "b": thresholds[1]},
        "faces": total.as_dict(),
        "most": [{"image": str(image)} | compared.as_dict() for image, compared in most],
    }


def _compare(one: Record, other: Record, thresholds: tuple[float, float]) -> _Compared:
    found = _Compared()
    above_N, above_M = one.scores_N >= thresholds[0], other.scores_N >= thresholds[1]
    pairs = _pairs(one.boxes_N4, other.boxes_N4)
    for row, column, overlap in pairs:
        if above_N[row] and above_M[column]:
            found.both += 1
            found.overlaps.append(overlap)
            found.scores.append(float(other.scores_N[column]) - float(one.scores_N[row]))
        found.nearly_a += int(above_N[row] and not above_M[column])
        found.nearly_b += int(above_M[column] and not above_N[row])
    found.only_a, found.only_b = int(above_N.sum()) - found.both, int(above_M.sum()) - found.both
    return found


def _pairs(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> list[tuple[int, int, float]]:
    """Matches boxes (x1 y1 x2 y2) greedily by IoU, each with at most one other."""
    overlap_NM = overlaps(boxes_N4, boxes_M4, np.zeros(len(boxes_M4), bool))
    pairs: list[tuple[int, int, float]] = []
    while overlap_NM.size and overlap_NM.max() >= LEAST_IOU:
        row, column = np.unravel_index(int(overlap_NM.argmax()), overlap_NM.shape)
        pairs.append((int(row), int(column), float(overlap_NM[row, column])))
        overlap_NM[row, :] = overlap_NM[:, column] = 0
    return pairs
