"""The labels of one image in a shard: LabelledImage → JSON and back, without loss.

    {"name": "0--Parade/….jpg", "width": 1024, "height": 768,
     "boxes": [[x1, y1, x2, y2], …], "ignore": [false, …], "landmarks": [[[x, y], …], null, …], "group": "0--Parade"}

A face without points has null, and so has a point that is not labelled. Labels made by a model have `scores`, null for
labels made by people. Members of shards state their `units` as well.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from mlcycle.datasets.formats.numbers import plain
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath

UNITS = "pixels of the upright image; boxes x1 y1 x2 y2, landmarks x y"


def to_json(image: LabelledImage, size: tuple[int, int]) -> dict[str, Any]:
    """Returns the object to write; `size` is the image's upright width and height in pixels."""
    content: dict[str, Any] = {
        "name": image.name,
        "width": size[0],
        "height": size[1],
        "boxes": [[plain(value) for value in box_4] for box_4 in image.boxes_N4],
        "ignore": [bool(each) for each in image.ignore_N],
        "landmarks": [_points(points_52) for points_52 in image.landmarks_N52],
        "group": image.group,
    }
    if image.size not in (None, size):  # kept for mlcycle data check to report
        content["stated_size"] = image.size
    if image.scale != (1.0, 1.0):
        content["scale"] = list(image.scale)
    if image.coco_ids is not None:
        content["coco_ids"] = list(image.coco_ids)
    if image.scores_N is not None:
        content["scores"] = [plain(score) if np.isfinite(score) else None for score in image.scores_N]
    return content


def from_json(content: dict[str, Any], path: ImagePath) -> LabelledImage:
    """Returns the image whose labels `to_json` has written, with its file at `path`.

    Raises:
        LookupError, TypeError, ValueError, OverflowError: the object does not come from `to_json`.
    """
    # Arrays that own their memory: a view keeps another array alive, for each of a million images.
    boxes = np.array(content["boxes"], np.float32) if content["boxes"] else np.zeros((0, 4), np.float32)
    ignore = np.array(content["ignore"], bool)
    if boxes.shape != (len(ignore), 4):
        raise ValueError("each box needs four numbers and a value in ignore")
    width, height = content.get("stated_size", (content["width"], content["height"]))
    scale_x, scale_y = content.get("scale", (1.0, 1.0))
    return LabelledImage(
        path=path,
        name=_text(content["name"]),
        boxes_N4=boxes,
        ignore_N=ignore,
        landmarks_N52=_landmarks(content["landmarks"], len(boxes)),
        group=sys.intern(_text(content["group"])),
        size=(width, height),
        coco_ids=tuple(content["coco_ids"]) if "coco_ids" in content else None,
        scale=(scale_x, scale_y),
        scores_N=_scores(content["scores"], len(boxes)) if "scores" in content else None,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a name")
    value.encode("utf-8", "surrogateescape")  # a lone surrogate could not be printed
    return value


def _points(points_52: np.ndarray) -> list[list[int | float] | None] | None:
    known_5 = np.isfinite(points_52).all(axis=1)
    if not known_5.any():
        return None
    return [[plain(x), plain(y)] if known else None for (x, y), known in zip(points_52, known_5, strict=True)]


def _scores(written: list[Any], faces: int) -> np.ndarray:
    scores = np.array([np.nan if score is None else score for score in written], np.float32)
    if scores.shape != (faces,):
        raise ValueError("each box needs a score or null")
    return scores


def _landmarks(written: list[Any], faces: int) -> np.ndarray:
    landmarks_N52 = np.full((faces, 5, 2), np.nan, np.float32)
    for row, points in zip(range(faces), written, strict=True):
        for index, point in enumerate(points or ()):
            landmarks_N52[row, index] = np.nan if point is None else point
    return landmarks_N52
