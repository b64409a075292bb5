"""Small labelled sets for lesson 3, from the demo's scenes: a few to train on, a validation set and a test set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Split → where its scenes come from: a split of the demo's scenes, the first of them, and the one after the last.
SPLITS = {
    "few": [("train", 0, 30)],
    "val": [("val", 0, 50)],
    "test": [("val", 50, 100)],
    "few_and_val": [("train", 0, 30), ("val", 0, 50)],
}


def build(scenes: Path, folder: Path) -> Path:
    """Writes the splits of SPLITS, in COCO layout, into a folder, unless they are there; returns the folder.

    Args:
        scenes: the demo's labelled scenes.
    """
    annotations = folder / "annotations"
    annotations.mkdir(parents=True, exist_ok=True)
    for split, parts in SPLITS.items():
        _copy_images(scenes, folder, parts)
        (annotations / f"{split}.json").write_text(json.dumps(_labels(scenes, parts)), "utf-8")
    return folder


def _copy_images(scenes: Path, folder: Path, parts: Sequence[tuple[str, int, int]]) -> None:
    for source, first, last in parts:
        (folder / "images" / source).mkdir(parents=True, exist_ok=True)
        for number in range(first, last):
            name = f"images/{source}/{number:04d}.jpg"
            if not (folder / name).exists():
                shutil.copyfile(scenes / name, folder / name)


def _labels(scenes: Path, parts: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """Returns the COCO labels of some scenes, with new numbers for images and boxes."""
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for source, first, last in parts:
        whole = json.loads((scenes / "annotations" / f"{source}.json").read_text("utf-8"))
        for image in whole["images"][first:last]:
            images.append(image | {"id": len(images) + 1})
            own = [box for box in whole["annotations"] if box["image_id"] == image["id"]]
            boxes += [box | {"id": len(boxes) + 1 + at, "image_id": len(images)} for at, box in enumerate(own)]
    return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "face"}]}
