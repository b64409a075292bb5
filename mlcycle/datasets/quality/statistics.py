"""Statistics of a labelled set: numbers of images and faces, their sizes, faces per image, groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mlcycle.datasets import image_header
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.errors import DataError

SCHEMA_VERSION = 2
QUANTILES = {"least": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "most": 1.0}
ASPECTS = (0.0, 0.5, 0.67, 0.8, 1.0, 1.25)
LONG_SIDE = 640

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of a set. Faces are boxes that are not ignored; quantiles of nothing are None.

    Attributes:
        images, without_faces, unreadable: numbers of images; unreadable ones have no known size.
        faces, ignored, with_landmarks: numbers of boxes; with_landmarks counts faces with all five points.
        faces_per_image, short_side, long_side, height: quantiles, by the names of QUANTILES; sides of images and
            heights of faces are in pixels.
        heights, heights_at_640: numbers of faces by ranges of height, in pixels of the image and of the image resized
            to a long side of 640 pixels (never enlarged).
        aspects: numbers of faces by width over height: from each of ASPECTS up to the next.
        groups: images and faces by group, the largest first.
    """

    images: int
    without_faces: int
    unreadable: int
    faces: int
    ignored: int
    with_landmarks: int
    faces_per_image: dict[str, float] | None
    short_side: dict[str, float] | None
    long_side: dict[str, float] | None
    height: dict[str, float] | None
    heights: dict[str, int]
    heights_at_640: dict[str, int]
    aspects: dict[str, int]
    groups: dict[str, tuple[int, int]]

    def to_dict(self) -> dict[str, Any]:
        """Returns the statistics as JSON values."""
        groups = {name: {"images": images, "faces": faces} for name, (images, faces) in self.groups.items()}
        return asdict(self) | {"groups": groups}


def describe(
    images: Sequence[LabelledImage], ranges: Ranges, advance: Callable[[int], None] = lambda n: None
) -> Statistics:
    """Computes the statistics of a set; only the headers of the images are read.

    Args:
        ranges: least and greatest height in pixels of each range, both included, by its name.
        advance: called with 1 after each image.
    """
    faces = [_usable(each) for each in images]
    sizes = []
    for each in images:
        sizes.append(_size(each))
        advance(1)
    known_P2 = np.array([size for size in sizes if size], float).reshape(-1, 2)
    all_L4 = np.concatenate([np.zeros((0, 4)), *faces])
    sides_L2 = all_L4[:, 2:] - all_L4[:, :2]
    shrunk = [(boxes[:, 3] - boxes[:, 1]) * _shrink(size) for boxes, size in zip(faces, sizes, strict=True) if size]
    counts_P = np.array([len(each) for each in faces])
    return Statistics(
        images=len(images),
        without_faces=int((counts_P == 0).sum()),
        unreadable=sum(size is None for size in sizes),
        faces=len(all_L4),
        ignored=sum(int(each.ignore_N.sum()) for each in images),
        with_landmarks=sum(
            int(np.isfinite(each.landmarks_N52[~each.ignore_N]).all(axis=(1, 2)).sum()) for each in images
        ),
        faces_per_image=_quantiles(counts_P),
        short_side=_quantiles(known_P2.min(axis=1, initial=np.inf)),
        long_side=_quantiles(known_P2.max(axis=1, initial=0)),
        height=_quantiles(sides_L2[:, 1]),
        heights=_by_range(sides_L2[:, 1], ranges),
        heights_at_640=_by_range(np.concatenate([np.zeros(0), *shrunk]), ranges),
        aspects=_aspects(sides_L2),
        groups=_groups(images, counts_P),
    )


def _usable(image: LabelledImage) -> np.ndarray:
    usable_N = ~image.ignore_N & np.isfinite(image.boxes_N4).all(axis=1)
    return image.boxes_N4[usable_N].astype(float)


def _size(image: LabelledImage) -> tuple[int, int] | None:
    try:
        return image_header.upright_size(image.path)
    except DataError:
        return None


def _shrink(size: tuple[int, int]) -> float:
    return min(1.0, LONG_SIDE / max(size))


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    found = np.quantile(values, list(QUANTILES.values()))
    return {name: round(float(value), 2) for name, value in zip(QUANTILES, found, strict=True)}


def _by_range(heights_L: np.ndarray, ranges: Ranges) -> dict[str, int]:
    return {name: int(((heights_L >= least) & (heights_L <= most)).sum()) for name, (least, most) in ranges.items()}


def _aspects(sides_L2: np.ndarray) -> dict[str, int]:
    flat_L = (sides_L2 <= 0).any(axis=1)
    ratio_L = sides_L2[~flat_L, 0] / sides_L2[~flat_L, 1]
    counts, _ = np.histogram(ratio_L, [*ASPECTS, np.inf])
    names = [f"{low:g}–{high:g}" for low, high in pairwise(ASPECTS)]
    return {name: int(count) for name, count in zip([*names, f"{ASPECTS[-1]:g} and more"], counts, strict=True)}


def _groups(labelled: Sequence[LabelledImage], counts_P: np.ndarray) -> dict[str, tuple[int, int]]:
    images, faces = Counter[str](), Counter[str]()
    for each, count in zip(labelled, counts_P, strict=True):
        if each.group:
            images[each.group] += 1
            faces[each.group] += int(count)
    return {name: (count, faces[name]) for name, count in sorted(images.items(), key=lambda each: (-each[1], each[0]))}
