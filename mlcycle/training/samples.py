"""Training samples: which photograph, cut how, as a pure function of the seed and the sample's number.

Since sample number i depends on nothing but (seed, i), the order of the data does not depend on the number of workers,
and a resumed run goes on with exactly the samples that an unbroken one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mlcycle.datasets.photograph import LabelledPhotograph
from mlcycle.errors import DataError
from mlcycle.training.photos import open_photo, upright_rgb, upright_size
from mlcycle.training.recipe import Augment

# In a mirrored picture the left eye is the right one.
MIRRORED_POINTS = (1, 0, 2, 4, 3)
# A face of which less than this share is left in the crop is neither learnt nor counted as background.
LEAST_VISIBLE = 0.5
# A whole photograph may be made as small as this share of the crop.
WHOLE_PHOTO_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Sample:
    """One crop: pixels_SS3 uint8, faces_N4 and landmarks_N52 in crop pixels, ignored_I4, and whose it is."""

    pixels_SS3: np.ndarray
    faces_N4: np.ndarray
    landmarks_N52: np.ndarray
    ignored_I4: np.ndarray
    name: str


@dataclass(frozen=True, slots=True)
class Batch:
    """B crops: the faces of all of them in one list, with the picture that each is in; the same for ignored boxes."""

    pixels_BSS3: Tensor
    faces_M4: Tensor
    landmarks_M52: Tensor
    picture_M: Tensor
    ignored_I4: Tensor
    ignored_picture_I: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def pin_memory(self) -> Batch:
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors: dict[str, Any] = {
            each.name: change(getattr(self, each.name)) for each in fields(self) if each.name != "names"
        }
        return replace(self, **tensors)


class Samples(Dataset):
    """Crops by number.

    Args:
        photographs: to draw from.
        weights: how often each is drawn, relative to the others.
        rule: how they are cut.
        seed: the recipe's.
    """

    def __init__(
        self, photographs: Sequence[LabelledPhotograph], weights: Sequence[float], rule: Augment, seed: int
    ) -> None:
        self.photographs = photographs
        self.cumulative = np.cumsum(np.asarray(weights, np.float64))
        self.rule = rule
        self.seed = seed

    def __getitem__(self, number: int) -> Sample | DataError:
        # An error raised in a worker would come back with the worker's traceback for a message; so it is handed over.
        try:
            return self._sample(number)
        except DataError as problem:
            return problem

    def _sample(self, number: int) -> Sample:
        random = np.random.default_rng((self.seed, number))
        place = np.searchsorted(self.cumulative, random.random() * self.cumulative[-1], side="right")
        photograph = self.photographs[min(int(place), len(self.photographs) - 1)]
        return cut(photograph, self.rule, random)


class Numbers(Sampler):
    """Sample numbers in order, from a step on: what makes a resumed run go on where it stopped."""

    def __init__(self, first: int, last: int) -> None:
        self.range = range(first, last)

    def __iter__(self) -> Iterator[int]:
        return iter(self.range)

    def __len__(self) -> int:
        return len(self.range)


def cut(photograph: LabelledPhotograph, rule: Augment, random: np.random.Generator) -> Sample:
    """Cuts one square crop out of a photograph and moves its labels along.

    Raises:
        DataError: the photograph cannot be read; it is named.
    """
    image = open_photo(photograph.path)
    size = upright_size(image)
    zoom, left, top = _choose_window(photograph, size, rule, random)
    picture = _render(image, (zoom, left, top), rule.crop, size)
    boxes = (photograph.boxes_N4 - (left, top, left, top)) * zoom
    landmarks = (photograph.landmarks_N52 - (left, top)) * zoom
    if random.random() < rule.flip:
        picture, boxes, landmarks = _mirror(picture, boxes, landmarks, rule.crop)
    faces, points, ignored = _sort_out(boxes, landmarks, photograph.ignore_N, rule)
    pixels = np.ascontiguousarray(picture)
    return Sample(pixels, faces, points, ignored, photograph.name)


def _choose_window(
    photograph: LabelledPhotograph, size: tuple[int, int], rule: Augment, random: np.random.Generator
) -> tuple[float, float, float]:
    """Returns the zoom (crop pixels per photo pixel) and the left and top of the window in photo pixels."""
    # Beyond the zoom that shows the whole photograph there is little but black to see.
    smallest = min(rule.zoom[1], max(rule.zoom[0], WHOLE_PHOTO_SHARE * rule.crop / max(size)))
    learnt = np.flatnonzero(~photograph.ignore_N)
    if len(learnt) and random.random() < rule.on_face:
        x1, y1, x2, y2 = photograph.boxes_N4[random.choice(learnt)].astype(float)
        face = max(1.0, math.sqrt((x2 - x1) * (y2 - y1)))
        zoom = float(np.clip(_log_uniform(rule.face_size, random) / face, smallest, rule.zoom[1]))
        side = rule.crop / zoom
        # The face's middle lies anywhere in the inner four fifths of the window.
        left = (x1 + x2) / 2 - side * random.uniform(0.1, 0.9)
        top = (y1 + y2) / 2 - side * random.uniform(0.1, 0.9)
    else:
        zoom = _log_uniform((smallest, rule.zoom[1]), random)
        side = rule.crop / zoom
        left, top = (random.uniform(min(0.0, edge - side), max(0.0, edge - side)) for edge in size)
    # A window that hangs over an edge is pushed back as far as the photograph reaches.
    left, top = (
        float(np.clip(place, min(0.0, edge - side), max(0.0, edge - side)))
        for place, edge in zip((left, top), size, strict=True)
    )
    return zoom, left, top


def _log_uniform(limits: tuple[float, float], random: np.random.Generator) -> float:
    return math.exp(random.uniform(math.log(limits[0]), math.log(limits[1])))


def _render(image: Image.Image, window: tuple[float, float, float], crop: int, size: tuple[int, int]) -> np.ndarray:
    """Returns picture_SS3 uint8: the window, resized; black where it reaches beyond the photograph."""
    zoom, left, top = window
    if zoom < 0.5:
        # A JPEG can be decoded at a half, a quarter or an eighth for a fraction of the time.
        image.draft("RGB", (math.ceil(image.width * zoom), math.ceil(image.height * zoom)))
    picture = upright_rgb(image)
    across, down = picture.width / size[0], picture.height / size[1]
    x1, y1 = max(0.0, left), max(0.0, top)
    x2, y2 = min(size[0], left + crop / zoom), min(size[1], top + crop / zoom)
    target = [round((value - origin) * zoom) for value, origin in ((x1, left), (y1, top), (x2, left), (y2, top))]
    width, height = max(1, target[2] - target[0]), max(1, target[3] - target[1])
    part = picture.resize(
        (width, height), Image.Resampling.BILINEAR, box=(x1 * across, y1 * down, x2 * across, y2 * down)
    )
    if part.size == (crop, crop):
        return np.asarray(part)
    canvas = Image.new("RGB", (crop, crop))
    canvas.paste(part, (target[0], target[1]))
    return np.asarray(canvas)


def _mirror(
    picture: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray, crop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mirrored = boxes.copy()
    mirrored[:, 0], mirrored[:, 2] = crop - boxes[:, 2], crop - boxes[:, 0]
    points = landmarks[:, MIRRORED_POINTS] * (-1, 1) + (crop, 0)
    return picture[:, ::-1], mirrored, points


def _sort_out(
    boxes: np.ndarray, landmarks: np.ndarray, ignore: np.ndarray, rule: Augment
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the faces to learn with their landmarks, and the boxes to ignore, all clipped to the crop."""
    clipped = boxes.clip(0, rule.crop).astype(np.float32)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    seen = (clipped[:, 2:] - clipped[:, :2]).prod(axis=1)
    in_crop = seen > 0
    small = np.sqrt(np.maximum(area, 0)) < rule.smallest_face
    learn = in_crop & ~ignore & ~small & (seen >= LEAST_VISIBLE * area)
    return clipped[learn], landmarks[learn].astype(np.float32), clipped[in_crop & ~learn]


def collate(results: Sequence[Sample | DataError]) -> Batch | DataError:
    """Puts samples into one batch; if one could not be read, that is the result."""
    for each in results:
        if isinstance(each, DataError):
            return each
    samples = [each for each in results if isinstance(each, Sample)]

    def owners(lists: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.repeat(np.arange(len(lists)), [len(each) for each in lists]))

    faces, ignored = [each.faces_N4 for each in samples], [each.ignored_I4 for each in samples]
    return Batch(
        pixels_BSS3=torch.from_numpy(np.stack([each.pixels_SS3 for each in samples])),
        faces_M4=torch.from_numpy(np.concatenate(faces)),
        landmarks_M52=torch.from_numpy(np.concatenate([each.landmarks_N52 for each in samples])),
        picture_M=owners(faces),
        ignored_I4=torch.from_numpy(np.concatenate(ignored)),
        ignored_picture_I=owners(ignored),
        names=tuple(each.name for each in samples),
    )
