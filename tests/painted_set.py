"""A labelled set of which the tiny model finds every face, as long as the labels are right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from tiny_model import BLUE, GREEN

WIDTH, HEIGHT = 400, 300
Box = tuple[int, int, int, int]


def boxes(number: int) -> tuple[Box, Box]:
    """Returns the two faces of an image, x y width height: a large one and a smaller one."""
    return (20 + number * 7 % 60, 30 + number * 11 % 50, 60 + number % 5 * 4, 80), (
        230 + number % 40,
        150,
        30,
        36 + number % 7,
    )


def write_painted(folder: Path, many: int, labels: dict[int, list[Box]] | None = None) -> Path:
    """Writes `many` images in COCO's layout; `labels` replaces those of some of them, by their numbers."""
    painted = [each()[:HEIGHT, :WIDTH] for each in (data.astronaut, data.coffee, data.rocket, data.chelsea)]
    images, annotations = [], []
    (folder / "images").mkdir(parents=True)
    for number in range(many):
        image_HW3 = painted[number % len(painted)].copy()
        for (x, y, w, h), colour in zip(boxes(number), (GREEN, BLUE), strict=True):
            image_HW3[y : y + h, x : x + w] = colour
        Image.fromarray(image_HW3).save(folder / "images" / f"{number:02}.png", compress_level=1)
        images.append({"id": number, "file_name": f"{number:02}.png", "width": WIDTH, "height": HEIGHT})
        for box in (labels or {}).get(number, list(boxes(number))):
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 1, "bbox": list(box)})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "face"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    assert np.array(painted[0]).shape == (HEIGHT, WIDTH, 3)
    return folder
