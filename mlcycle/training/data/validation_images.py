"""Held-out photographs as inference will make them: decoded, upright, and made smaller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlcycle.datasets.labelled_image import LabelledPhotograph
from mlcycle.training.data.image_input import fit_long_side, open_photo, upright_rgb

# How many are read ahead, and by how many threads.
AHEAD = 8
READERS = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: width and height in input pixels, and photo pixels per input pixel."""

    size: tuple[int, int]
    scale: tuple[float, float]

    def to_photograph(self, boxes_N4: Tensor) -> np.ndarray:
        """Returns boxes in pixels of the photograph."""
        return (boxes_N4 * torch.tensor((*self.scale, *self.scale), device=boxes_N4.device)).cpu().numpy()


def pictures(photographs: Sequence[LabelledPhotograph], long_side: int) -> Iterator[tuple[np.ndarray, Frame]]:
    """Yields each photograph as inference will see it, picture_HW3 uint8 RGB, and its frame.

    Raises:
        DataError: one cannot be read.
    """

    def read(photograph: LabelledPhotograph) -> tuple[np.ndarray, Frame]:
        upright = upright_rgb(open_photo(photograph.path))
        picture = fit_long_side(upright, long_side)
        height, width = picture.shape[:2]
        return picture, Frame((width, height), (upright.width / width, upright.height / height))

    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(photographs), AHEAD):
            yield from readers.map(read, photographs[start : start + AHEAD])
