"""One labelled image: what every reader returns, whatever the layout."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.datasets.member import ImagePath
from mlcycle.errors import DataError


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image and its labels.

    Attributes:
        path: the file, or the member of a shard.
        name: its key within its set: the path below the set's image root, with "/" between, e.g.
            "0--Parade/0_Parade_marchingband_1_465.jpg".
        boxes_N4: float32, x1 y1 x2 y2 in pixels of the upright image, as labelled (not clipped).
        ignore_N: bool, True for a box that is neither a training target nor a false alarm when detected
            (WIDER's "invalid", COCO's "iscrowd" or "ignore").
        landmarks_N52: float32, five points (left eye, right eye, nose, left and right corner of the mouth, as seen in
            the image), x y in pixels; NaN where a point is not labelled.
        group: the group it belongs to in its set (a WIDER event), or "".
        size: width, height in pixels if the labels state them, else None.
        coco_ids: image id and face category id in the COCO file that the labels come from, else None.
        scale: size of the file over size of the image that was labelled, in x and in y; boxes and landmarks
            are already scaled by it.
        scores_N: float32, the score of each box that a model labelled (NaN for others); None if people made all labels.
    """

    path: ImagePath
    name: str
    boxes_N4: np.ndarray
    ignore_N: np.ndarray
    landmarks_N52: np.ndarray
    group: str = ""
    size: tuple[int, int] | None = field(default=None)
    coco_ids: tuple[Any, Any] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    scores_N: np.ndarray | None = None


def checked_name(name: str, labels: Path) -> str:
    """Returns the name that a label file gives an image, with "/" between folders.

    A set can come from anywhere, and its images are copied, packed and shown: none may be a file outside of the set.

    Args:
        labels: the label file.

    Raises:
        DataError: it leads out of the set's folder, or no file can have this name.
    """
    name = name.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/"):
        hint = "correct it, or move the image into the set"
        raise DataError(f"{labels} names a file outside of the set: {name}", hint)
    try:
        if b"\0" in os.fsencode(name):
            raise ValueError
    except ValueError:  # a lone surrogate, from an escape such as \ud800
        raise DataError(f"{labels}: no file can have the name {name!a}", "correct it") from None
    return name
