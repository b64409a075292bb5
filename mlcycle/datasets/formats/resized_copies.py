"""Scales the official labels of WIDER FACE to copies of its images that were made smaller.

WIDER FACE's images are all 1024 pixels wide, and its labels are in those pixels. Resizing every image to a long side
of 1024 keeps the landscapes and makes the portraits narrower: a face labelled at x = 900 then lies outside of an image
683 pixels wide, and most others are silently in the wrong place. This module scales the labels with the images.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath
from mlcycle.errors import DataError

OFFICIAL_WIDTH = 1024
OFFICIAL_NAME = re.compile(r"\d{1,2}--[^/]+/\d{1,2}_[^/]*_\d+\.jpg")
SAMPLE = 64

Size = tuple[int, int]
SizeOf = Callable[[ImagePath], Size]


def scale_labels_of_copies(
    images: list[LabelledImage], stated: dict[str, Size], size_of: SizeOf
) -> list[LabelledImage]:
    """Scales boxes and landmarks of the images that are smaller copies of those that were labelled.

    Args:
        images: as labelled.
        stated: width, height in pixels of the images that were labelled, where the labels state them.
        size_of: returns the upright width, height in pixels of a file, or raises DataError.

    A sample of the images is opened first: if none is a resized copy, the rest is not opened.
    """
    sample = images[:: max(1, len(images) // SAMPLE)]
    if not any(_scale(image, stated, size_of) for image in sample):
        return images
    return [_scaled(image, stated, size_of) for image in images]


def _scaled(image: LabelledImage, stated: dict[str, Size], size_of: SizeOf) -> LabelledImage:
    scale = _scale(image, stated, size_of)
    if scale is None:
        return image
    scale_2 = np.array(scale, np.float32)
    return replace(
        image,
        boxes_N4=image.boxes_N4 * np.tile(scale_2, 2),
        landmarks_N52=image.landmarks_N52 * scale_2,
        scale=scale,
    )


def _scale(image: LabelledImage, stated: dict[str, Size], size_of: SizeOf) -> tuple[float, float] | None:
    """Returns the scale of a resized copy in x and in y; None for any other image, and if the file cannot be opened."""
    known = stated.get(image.name)
    if not known and not OFFICIAL_NAME.fullmatch(image.name):
        return None
    try:
        width, height = size_of(image.path)
    except DataError:
        return None
    if known:
        scale = width / known[0], height / known[1]
        same_shape = abs(scale[0] * known[1] - height) <= 1.5 and abs(scale[1] * known[0] - width) <= 1.5
        return scale if (width, height) != known and same_shape else None
    if width < height == OFFICIAL_WIDTH:
        return width / OFFICIAL_WIDTH, width / OFFICIAL_WIDTH
    return None
