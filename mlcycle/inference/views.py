"""Several views of an image: it is shown to the model at several scales, and a very large one in overlapping tiles.

Small faces are found in the original size, and large ones at the model's own long side. What several views find of one
face is merged by non-maximum suppression, as boxes of one view are in the graph.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from PIL import Image

from mlcycle.artifact.contract import Selection
from mlcycle.errors import UsageError
from mlcycle.inference import letterbox
from mlcycle.inference.letterbox import Frame

Faces = tuple[np.ndarray, np.ndarray, np.ndarray | None]
# An image whose long side is larger is shown in tiles of this side (pixels): the graph's memory grows with the pixels.
TILE = 2048
# By how many pixels tiles overlap at least: a face up to this size lies entirely in one of them.
OVERLAP = 256


@dataclass(frozen=True, slots=True)
class View:
    """A region of the upright image, left top right bottom in pixels, and its input's long side; 0 keeps its size."""

    region: tuple[int, int, int, int]
    long_side: int


def long_sides_of_text(text: str, name: str) -> tuple[int, ...]:
    """Parses long sides such as "640,original": in pixels, 0 for "original".

    Args:
        name: of the option or parameter, for errors.

    Raises:
        UsageError: another word, or the same size twice.
    """
    found = tuple(_pixels(each, text, name) for each in text.split(","))
    if len(set(found)) < len(found):
        raise UsageError(f"{name} {text} names a size twice", "pass each size once, such as 640,original")
    return found


def _pixels(word: str, text: str, name: str) -> int:
    if word == "original":
        return 0
    if not re.fullmatch(r"[1-9][0-9]{0,8}", word):
        raise UsageError(f"{name} {text} is not a number of pixels", "pass 640, original or 640,original")
    return int(word)


def views_of(size: tuple[int, int], long_sides: tuple[int, ...]) -> list[View]:
    """Returns the views of an image of this width and height, one or more for each long side; 0 is its own size.

    A long side at which the image would have the same size as at another one adds nothing.
    """
    whole, found = (0, 0, *size), []
    for target in dict.fromkeys(0 if each >= max(size) else each for each in long_sides):
        if target or max(size) <= TILE:
            found.append(View(whole, target))
        else:
            columns, rows = _tiles(size[0]), _tiles(size[1])
            found += [View((left, top, right, bottom), 0) for (top, bottom), (left, right) in product(rows, columns)]
            found.append(View(whole, TILE))  # shows faces that are larger than the overlap
    return list(dict.fromkeys(found))


def input_of(upright: Image.Image, size: tuple[int, int], view: View) -> tuple[np.ndarray, Frame]:
    """Returns a view's input_HW3 (uint8 RGB) and the frame for the inverse transform.

    Args:
        upright: the image; decoded at a reduced scale, it is smaller than its `size`, and then has no tiles.
        size: width and height of the image.
    """
    if view.region == (0, 0, *size):
        return letterbox.shrink(upright, view.long_side, size)
    pixels_HW3, frame = letterbox.shrink(upright.crop(view.region), view.long_side)
    return pixels_HW3, replace(frame, left=view.region[0], top=view.region[1])


def row_of(outputs: Faces, row: int) -> Faces:
    """Returns the outputs of one image of a batch."""
    return outputs[0][row], outputs[1][row], None if outputs[2] is None else outputs[2][row]


def select(outputs: Faces, threshold: float, frame: Frame) -> Faces:
    """Keeps the rows of one image that score at least `threshold`, and maps them from the input to the image.

    Rows of score 0 are not detections: they pad each image to the row count of its batch.
    Returns boxes_N4 (x1 y1 x2 y2), scores_N and landmarks_N52 (or None), in pixels of the upright image.
    """
    boxes_N4, scores_N, landmarks_N52 = outputs
    keep_N = (scores_N >= threshold) & (scores_N > 0)
    boxes_N4 = letterbox.boxes_to_image(boxes_N4[keep_N], frame)
    if landmarks_N52 is None:
        return boxes_N4, scores_N[keep_N], None
    return boxes_N4, scores_N[keep_N], letterbox.to_image(landmarks_N52[keep_N], frame)


def merge(found: list[tuple[Faces, Frame]], size: tuple[int, int], rule: Selection) -> Faces:
    """Merges the faces that several views found, in pixels of the image of this width and height; best first."""
    parts = [_without_cut(faces, frame, size) for faces, frame in found]
    boxes_N4, scores_N = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    points = [part[2] for part in parts if part[2] is not None]
    kept = suppress(boxes_N4, scores_N, rule)
    return boxes_N4[kept], scores_N[kept], np.concatenate(points)[kept] if points else None


def suppress(boxes_N4: np.ndarray, scores_N: np.ndarray, rule: Selection) -> list[int]:
    """Returns the rows that greedy non-maximum suppression keeps, best first."""
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    areas_N = sides_N2.prod(axis=1)
    kept: list[int] = []
    order = np.argsort(-scores_N, kind="stable")
    while len(order) and len(kept) < rule.max_faces:
        best, order = order[0], order[1:]
        kept.append(int(best))
        shared_N2 = np.minimum(boxes_N4[best, 2:], boxes_N4[order, 2:]) - np.maximum(
            boxes_N4[best, :2], boxes_N4[order, :2]
        )
        shared_N = np.clip(shared_N2, 0, None).prod(axis=1)
        order = order[shared_N <= rule.iou_threshold * (areas_N[best] + areas_N[order] - shared_N)]
    return kept


def _tiles(side: int) -> list[tuple[int, int]]:
    """Returns the start and end of each tile along a side, evenly spread."""
    if side <= TILE:
        return [(0, side)]
    count = -(-(side - OVERLAP) // (TILE - OVERLAP))
    starts = [round(number * (side - TILE) / (count - 1)) for number in range(count)]
    return [(start, start + TILE) for start in starts]


def _without_cut(faces: Faces, frame: Frame, size: tuple[int, int]) -> Faces:
    """Removes parts of faces at a tile's border inside the image: another view has the whole face."""
    boxes_N4, scores_N, landmarks_N52 = faces
    borders_4 = np.array([frame.left, frame.top, frame.left + frame.width, frame.top + frame.height])
    is_inside_4 = borders_4 != np.array([0, 0, *size])
    is_cut_N = ((np.abs(boxes_N4 - borders_4) < 1) & is_inside_4).any(axis=1)
    return boxes_N4[~is_cut_N], scores_N[~is_cut_N], None if landmarks_N52 is None else landmarks_N52[~is_cut_N]
