"""Writes YOLO's layout: data.yaml, images/SPLIT and labels/SPLIT, in shares of the upright image.

Boxes to be ignored have no place in it and are left out. data.yaml has no `path`, so that the set may lie anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from mlcycle.datasets.formats.yolo import label_file
from mlcycle.datasets.labelled_image import LabelledImage

# Left and right change places where an image is mirrored.
MIRRORED = [1, 0, 2, 4, 3]

Parts = Mapping[str, Sequence[LabelledImage]]
Sizes = Mapping[str, Mapping[str, tuple[int, int]]]


def place(split: str, name: str) -> Path:
    """Returns where an image belongs in the folder."""
    return Path("images", split, name)


def write_labels(folder: Path, parts: Parts, sizes: Sizes) -> None:
    """Writes data.yaml and a file for each image, an empty one where it has no face; `sizes` are width, height in
    pixels by part and name."""
    pointed = any(np.isfinite(each.landmarks_N52).any() for images in parts.values() for each in images)
    content: dict[str, object] = {split: f"images/{split}" for split in parts} | {"names": {0: "face"}}
    if pointed:
        content |= {"kpt_shape": [5, 3], "flip_idx": MIRRORED}
    (folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    for split, images in parts.items():
        for image in images:
            file = label_file(folder / place(split, image.name))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(_rows(image, sizes[split][image.name], pointed)), "utf-8")


def _rows(image: LabelledImage, size: tuple[int, int], pointed: bool) -> list[str]:
    size_2 = np.array(size, float)
    rows = []
    for row in np.flatnonzero(~image.ignore_N):
        corner_2, end_2 = image.boxes_N4[row].astype(float).reshape(2, 2) / size_2
        values = [*(corner_2 + end_2) / 2, *end_2 - corner_2]
        for point_2 in image.landmarks_N52[row] / size_2 if pointed else ():
            values += [*point_2, 2] if np.isfinite(point_2).all() else [0, 0, 0]
        rows.append(f"0 {' '.join(f'{value:.15g}' for value in values)}\n")
    return rows
