"""One labelled image: what every reader returns, whatever the layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcycle.datasets.member import ImagePath


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
