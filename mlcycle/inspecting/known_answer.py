"""The known answer that a model file carries, as JSON and people have it, and the drawing that it is about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlcycle.artifact.self_test import Distance, SelfTest, Tolerance

if TYPE_CHECKING:
    from PIL import Image

# A pixel of the drawing becomes so many, across and down, for people to see each.
ENLARGED = 4


def facts(known: SelfTest) -> dict[str, Any]:
    """Returns what there is to be found, and in what."""
    return {"rows": len(known.scores), "image": {"width": known.width, "height": known.height}}


def tolerance_as_dict(tolerance: Tolerance) -> dict[str, float]:
    """Returns a tolerance as JSON has it."""
    return {"pixels": tolerance.pixels, "score": tolerance.score}


def distance_as_dict(distance: Distance) -> dict[str, float | None]:
    """Returns a distance as JSON has it, which knows no infinity: pixels are None where a known face was not found."""
    values = {"pixels": distance.pixels, "score": distance.score}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def distance_text(distance: dict[str, float | None]) -> str:
    """Returns a distance for people."""
    if distance["pixels"] is None:
        return "a known face not found"
    score = distance["score"]
    return f"{distance['pixels']:.2g} px and {'no number' if score is None else f'{score:.2g}'} in score"


def tolerance_text(tolerance: dict[str, float]) -> str:
    """Returns a tolerance for people."""
    return f"{tolerance['pixels']:g} px and {tolerance['score']:g}"


def drawing(known: SelfTest) -> Image.Image:
    """Returns the image, enlarged, with the known boxes, scores and landmarks drawn on it."""
    import numpy as np
    from PIL import Image

    from mlcycle.inference.copies import annotate

    small = Image.fromarray(known.image())
    size = (small.width * ENLARGED, small.height * ENLARGED)
    points_N52 = np.array(known.landmarks) * ENLARGED if known.landmarks else None
    boxes_N4 = np.array(known.boxes).reshape(-1, 4) * ENLARGED
    large = small.resize(size, Image.Resampling.NEAREST)
    return annotate.draw(large, boxes_N4, np.array(known.scores), points_N52)
