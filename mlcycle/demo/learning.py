"""What the demo's network finds in one image while it learns, and the weights of its first layer at the same steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlcycle.demo.source_images import Box
from mlcycle.inference.copies.annotate import draw

# The step between the first and the last that is shown: faces are found, and not yet as surely as in the end.
EARLY = 300
# The side of the square that a weight is drawn as, and the space between two filters, in pixels.
SQUARE, GAP = 12, 6
# The example of a weight: in the first filter, the one that is multiplied with the red of the pixel in the middle.
EXAMPLE = (0, 0, 1, 1)


@dataclass(frozen=True, slots=True)
class Stage:
    """The network after a step.

    Attributes:
        image: the image with what the network finds in it.
        found: the same as boxes, x1 y1 x2 y2 in pixels.
        best_score: of its best guess, also if that is below the threshold; 0 without a guess.
        filters: the weights of the first layer as colours.
        example: one of these weights.
    """

    step: int
    image: Image.Image
    found: tuple[Box, ...]
    best_score: float
    filters: Image.Image
    example: float


@dataclass(frozen=True, slots=True)
class Learning:
    """A training in pictures: before the first step, early, and after the last.

    Attributes:
        threshold: the score from which a box is drawn.
        weights: how many the network has.
        filters: how many of them make the first layer's filters, and how many each filter has.
    """

    stages: tuple[Stage, ...]
    threshold: float
    weights: int
    filters: tuple[int, int]


def look_back(run: Path, image: Path, threshold: float) -> Learning:
    """Runs the checkpoints of a run on an image file. Needs torch, as training does."""
    from mlcycle.training import history
    from mlcycle.training.recipes.recipe_file import load
    from mlcycle.training.run.run_folder import RECIPE

    rule, kept = load(run / RECIPE).inference, history.kept_steps(run)
    early = min(kept[1:-1] or kept, key=lambda step: abs(step - EARLY))
    with Image.open(image) as file:
        plain = file.convert("RGB")
    stages = []
    for step in dict.fromkeys((kept[0], early, kept[-1])):
        network = history.network_at(run, step)
        found = history.find(network, rule, image)
        chosen = found.scores_N >= threshold
        drawn = draw(plain, found.boxes_N4[chosen], found.scores_N[chosen], None)
        weights_F333 = network.stem.convolution.weight.detach().numpy()
        boxes: list[Box] = [tuple(box_4) for box_4 in found.boxes_N4[chosen].tolist()]
        best = float(found.scores_N.max(initial=0.0))
        stages.append(Stage(step, drawn, tuple(boxes), best, _filters(weights_F333), float(weights_F333[EXAMPLE])))
    count = sum(each.numel() for each in network.parameters())
    return Learning(tuple(stages), threshold, count, (len(weights_F333), weights_F333[0].size))


def _filters(weights_F333: np.ndarray) -> Image.Image:
    """Draws filters side by side: grey for a weight of 0, brighter for positive ones, darker for negative ones."""
    side = 3 * SQUARE
    sheet = Image.new("RGBA", (len(weights_F333) * (side + GAP) - GAP, side))
    levels = (128 + 160 * weights_F333.transpose(0, 2, 3, 1)).clip(0, 255).round().astype(np.uint8)
    for place, filter_333 in enumerate(levels):
        tile = Image.fromarray(filter_333).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(tile, (place * (side + GAP), 0))
    return sheet
