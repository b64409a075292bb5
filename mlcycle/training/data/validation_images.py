"""Validation images, preprocessed as in inference: decoded, upright, and shrunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.training.data.image_input import fit_long_side, open_image, upright_rgb

# How many images are read ahead, and by how many threads.
AHEAD = 8
READERS = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One image: width and height in input pixels, and image pixels per input pixel."""

    size: tuple[int, int]
    scale: tuple[float, float]

    def to_image(self, boxes_N4: Tensor) -> np.ndarray:
        """Returns boxes in pixels of the image."""
        return (boxes_N4 * torch.tensor((*self.scale, *self.scale), device=boxes_N4.device)).cpu().numpy()


def images(images: Sequence[LabelledImage], long_side: int) -> Iterator[tuple[np.ndarray, Frame]]:
    """Yields each image as inference preprocesses it, image_HW3 uint8 RGB, and its frame.

    Args:
        long_side: in pixels; 0 keeps an image's own size.

    Raises:
        DataError: an image cannot be read.
    """

    def read(labelled: LabelledImage) -> tuple[np.ndarray, Frame]:
        upright = upright_rgb(open_image(labelled.path))
        image = fit_long_side(upright, long_side or max(upright.size))
        height, width = image.shape[:2]
        return image, Frame((width, height), (upright.width / width, upright.height / height))

    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(images), AHEAD):
            yield from readers.map(read, images[start : start + AHEAD])
