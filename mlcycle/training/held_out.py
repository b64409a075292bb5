"""Held-out photographs as the network's input: made smaller as inference will make them, several to a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from mlcycle.datasets.photograph import LabelledPhotograph
from mlcycle.training.photos import fit_long_side, open_photo, upright_rgb

BATCH = 8
READERS = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture within its padded square: width and height in input pixels, and photo pixels per input pixel."""

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
        for start in range(0, len(photographs), BATCH):
            yield from readers.map(read, photographs[start : start + BATCH])


def batches(photographs: Sequence[LabelledPhotograph], long_side: int) -> Iterator[tuple[Tensor, list[Frame]]]:
    """Yields pictures_B3SS uint8, each padded with black to one square of a multiple of 32, and a frame for each."""
    side = -(-long_side // 32) * 32
    ready = pictures(photographs, long_side)
    while read_ones := list(islice(ready, BATCH)):
        inputs = np.zeros((len(read_ones), side, side, 3), np.uint8)
        for canvas, (picture, _) in zip(inputs, read_ones, strict=True):
            canvas[: picture.shape[0], : picture.shape[1]] = picture
        yield torch.from_numpy(inputs).permute(0, 3, 1, 2), [frame for _, frame in read_ones]
