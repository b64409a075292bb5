"""The self-test of a model file as JSON and as text, and its test image with the expected faces."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlcycle.artifact.self_test import Distance, SelfTest, Tolerance

if TYPE_CHECKING:
    from PIL import Image

# Enlargement of the test image in both directions, so that its pixels are visible.
ENLARGED = 4


def facts(self_test: SelfTest) -> dict[str, Any]:
    """Returns the number of expected faces and the size of the test image."""
    return {"rows": len(self_test.scores), "image": {"width": self_test.width, "height": self_test.height}}


def tolerance_as_dict(tolerance: Tolerance) -> dict[str, float]:
    """Returns a tolerance for a JSON document."""
    return {"pixels": tolerance.pixels, "score": tolerance.score}


def distance_as_dict(distance: Distance) -> dict[str, float | None]:
    """Returns a distance for a JSON document. JSON has no infinity: pixels are None if an expected face is missing."""
    values = {"pixels": distance.pixels, "score": distance.score}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def distance_text(distance: dict[str, float | None]) -> str:
    """Returns a distance as text."""
    if distance["pixels"] is None:
        return "an expected face is missing"
    score = distance["score"]
    return f"{distance['pixels']:.2g} px and {'not a number' if score is None else f'{score:.2g}'} in score"


def tolerance_text(tolerance: dict[str, float]) -> str:
    """Returns a tolerance as text."""
    return f"{tolerance['pixels']:g} px and {tolerance['score']:g}"


def with_expected_faces(self_test: SelfTest) -> Image.Image:
    """Returns the enlarged test image with the expected boxes, scores and landmarks drawn on it."""
    import numpy as np
    from PIL import Image

    from mlcycle.inference.copies import annotate

    small = Image.fromarray(self_test.image())
    size = (small.width * ENLARGED, small.height * ENLARGED)
    points_N52 = np.array(self_test.landmarks) * ENLARGED if self_test.landmarks else None
    boxes_N4 = np.array(self_test.boxes).reshape(-1, 4) * ENLARGED
    large = small.resize(size, Image.Resampling.NEAREST)
    return annotate.draw(large, boxes_N4, np.array(self_test.scores), points_N52)
