"""Writes COCO's object detection json: annotations.json for a set without parts, else annotations/ with one per part.

Boxes, boxes to be ignored (`iscrowd` and `ignore`), landmarks (`keypoints`), groups (`group`) and the scores of labels
that a model made (`score`) are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.datasets.formats.numbers import corner_and_sides, plain
from mlcycle.datasets.labelled_image import LabelledImage

POINTS = ("left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner")
CATEGORY = {"id": 1, "name": "face", "supercategory": "person", "keypoints": list(POINTS), "skeleton": []}
USUAL_SPLITS = ("train", "val", "test")

Parts = Mapping[str, Sequence[LabelledImage]]
Sizes = Mapping[str, Mapping[str, tuple[int, int]]]


def place(split: str, name: str) -> Path:
    """Returns the path of an image within the folder."""
    return Path("images", split, name)


def write_labels(folder: Path, parts: Parts, sizes: Sizes, info: Mapping[str, Any] | None = None) -> None:
    """Writes the json of each part; `sizes` are width, height in pixels by part and name, `info` its info object."""
    for split, images in parts.items():
        file = folder / "annotations.json"
        if split:
            base_name = f"instances_{split}" if split in USUAL_SPLITS else split
            file = folder / "annotations" / f"{base_name}.json"
        file.parent.mkdir(exist_ok=True)
        content = {"info": dict(info)} if info else {}
        file.write_text(json.dumps(content | _content(images, sizes[split])), "utf-8")


def _content(labelled_images: Sequence[LabelledImage], sizes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    images, annotations = [], list[dict[str, Any]]()
    for number, labelled in enumerate(labelled_images, 1):
        width, height = sizes[labelled.name]
        image = {"id": number, "file_name": labelled.name, "width": width, "height": height}
        images.append(image | ({"group": labelled.group} if labelled.group else {}))
        for row in range(len(labelled.boxes_N4)):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_annotation(labelled, row)})
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}


def _annotation(image: LabelledImage, row: int) -> dict[str, Any]:
    x, y, width, height = corner_and_sides(image.boxes_N4[row])
    ignored = int(image.ignore_N[row])
    annotation = {"category_id": 1, "bbox": [x, y, width, height], "area": width * height, "iscrowd": ignored}
    points_52 = image.landmarks_N52[row]
    known_5 = np.isfinite(points_52).all(axis=1)
    if ignored:
        annotation["ignore"] = 1
    if known_5.any():
        triples = [
            [plain(px), plain(py), 2] if known else [0, 0, 0]
            for (px, py), known in zip(points_52, known_5, strict=True)
        ]
        annotation |= {
            "keypoints": [value for triple in triples for value in triple],
            "num_keypoints": int(known_5.sum()),
        }
    if image.scores_N is not None and np.isfinite(image.scores_N[row]):
        annotation["score"] = plain(image.scores_N[row])
    return annotation
