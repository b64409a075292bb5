"""Ranges of face sizes: COCO's, by area, and by the height of the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlcycle.evaluation import matching


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Faces whose area (square pixels) or height (pixels) lies between two values, both included."""

    name: str
    least: float
    most: float
    measure: Literal["area", "height"] = "area"

    def holds(self, boxes_N4: np.ndarray) -> np.ndarray:
        """Returns for each box (x1 y1 x2 y2) whether it is of this size."""
        size_N = matching.areas(boxes_N4) if self.measure == "area" else boxes_N4[:, 3] - boxes_N4[:, 1]
        return (size_N >= self.least) & (size_N <= self.most)


def _below(value: float) -> float:
    return float(np.nextafter(value, 0))


ALL = SizeRange("all", 0, 1e10)
BY_AREA = (
    SizeRange("small", 0, 32**2),
    SizeRange("medium", 32**2, 96**2),
    SizeRange("large", 96**2, 1e10),
)
BY_HEIGHT = (
    SizeRange("<16 px", 0, _below(16), "height"),
    SizeRange("16-32 px", 16, _below(32), "height"),
    SizeRange("32-96 px", 32, _below(96), "height"),
    SizeRange(">=96 px", 96, 1e10, "height"),
)
