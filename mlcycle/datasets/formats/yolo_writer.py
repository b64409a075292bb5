"""Writes YOLO's layout: data.yaml, images/SPLIT and labels/SPLIT, relative to the size of the upright image.

Boxes to be ignored are left out: the layout cannot mark them. data.yaml has no `path`, so that the set can be moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from mlcycle.datasets.formats.yolo import label_file
from mlcycle.datasets.labelled_image import LabelledImage

# The landmark at each index after mirroring: left and right change places.
MIRRORED = [1, 0, 2, 4, 3]

Parts = Mapping[str, Sequence[LabelledImage]]
Sizes = Mapping[str, Mapping[str, tuple[int, int]]]


def place(split: str, name: str) -> Path:
    """Returns the path of an image within the folder."""
    return Path("images", split, name)


def write_labels(folder: Path, parts: Parts, sizes: Sizes) -> None:
    """Writes data.yaml and a file for each image, an empty one where it has no face; `sizes` are width, height in
    pixels by part and name."""
    with_landmarks = any(np.isfinite(each.landmarks_N52).any() for images in parts.values() for each in images)
    content: dict[str, object] = {split: f"images/{split}" for split in parts} | {"names": {0: "face"}}
    if with_landmarks:
        content |= {"kpt_shape": [5, 3], "flip_idx": MIRRORED}
    (folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    for split, images in parts.items():
        for image in images:
            file = label_file(folder / place(split, image.name))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(_rows(image, sizes[split][image.name], with_landmarks)), "utf-8")


def _rows(image: LabelledImage, size: tuple[int, int], with_landmarks: bool) -> list[str]:
    size_2 = np.array(size, float)
    rows = []
    for row in np.flatnonzero(~image.ignore_N):
        corner_2, end_2 = image.boxes_N4[row].astype(float).reshape(2, 2) / size_2
        values = [*(corner_2 + end_2) / 2, *end_2 - corner_2]
        for point_2 in image.landmarks_N52[row] / size_2 if with_landmarks else ():
            values += [*point_2, 2] if np.isfinite(point_2).all() else [0, 0, 0]
        rows.append(f"0 {' '.join(f'{value:.15g}' for value in values)}\n")
    return rows
