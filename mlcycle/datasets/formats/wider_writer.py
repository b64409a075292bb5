"""Writes WIDER FACE's layout: wider_face_split/ with the labels, and files with landmarks and image sizes.

Boxes to be ignored are marked invalid. The other attributes (blur, expression, illumination, occlusion, pose) are 0.
The stated size of each image marks its labels as being in pixels of this file: the labels of an official image that was
made smaller are scaled already, and must not be scaled again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mlcycle.datasets.formats.numbers import corner_and_sides, plain
from mlcycle.datasets.formats.wider import LABELS
from mlcycle.datasets.labelled_image import LabelledImage

Parts = Mapping[str, Sequence[LabelledImage]]
Sizes = Mapping[str, Mapping[str, tuple[int, int]]]


def place(split: str, name: str) -> Path:
    """Returns the path of an image within the folder."""
    return Path(f"WIDER_{split}", "images", name)


def write_labels(folder: Path, parts: Parts, sizes: Sizes) -> None:
    """Writes two files for each part; `sizes` are width, height in pixels by part and name."""
    labels = folder / LABELS
    labels.mkdir()
    for split, images in parts.items():
        boxes = [line for image in images for line in _boxes(image)]
        points = [line for image in images for line in _points(image, sizes[split][image.name])]
        (labels / f"wider_face_{split}_bbx_gt.txt").write_text("".join(boxes), "utf-8")
        (labels / f"landmarks_{split}.txt").write_text("".join(points), "utf-8")


def _boxes(image: LabelledImage) -> Iterator[str]:
    yield f"{image.name}\n{len(image.boxes_N4)}\n"
    for box_4, ignored in zip(image.boxes_N4, image.ignore_N, strict=True):
        yield f"{_written(box_4)} 0 0 0 {int(ignored)} 0 0\n"
    if not len(image.boxes_N4):
        yield "0 0 0 0 0 0 0 0 0 0\n"


def _points(image: LabelledImage, size: tuple[int, int]) -> Iterator[str]:
    yield f"# {image.name} {size[0]} {size[1]}\n"
    if not np.isfinite(image.landmarks_N52).all(axis=2).any():
        return
    # A row for each face: two can have the same box, and are then matched by their order.
    for box_4, points_52 in zip(image.boxes_N4, image.landmarks_N52, strict=True):
        known_5 = np.isfinite(points_52).all(axis=1)
        triples = (
            f"{plain(x)} {plain(y)} 0" if known else "-1 -1 -1"
            for (x, y), known in zip(points_52, known_5, strict=True)
        )
        yield f"{_written(box_4)} {' '.join(triples)}\n"


def _written(box_4: np.ndarray) -> str:
    return " ".join(str(value) for value in corner_and_sides(box_4))
