"""Training samples: which image, cut how, as a pure function of the seed and the sample's number.

Since sample number i depends on nothing but (seed, i), the order of the data does not depend on the number of workers,
and a resumed run goes on with exactly the samples that an unbroken one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath
from mlcycle.errors import DataError
from mlcycle.training.data.crop import ImageFile, Sample, Source, cut, mosaic
from mlcycle.training.data.sampling_order import Order
from mlcycle.training.random_streams import Stream, generator
from mlcycle.training.recipes.recipe import PHOTOMETRIC, Augment


@dataclass(frozen=True, slots=True)
class Batch:
    """B crops: the faces of all of them in one list, with the image that each is in; the same for ignored boxes.

    `photometric_BL` is what was drawn for the look of each, from 0 to 1.
    """

    pixels_BSS3: Tensor
    photometric_BL: Tensor
    faces_M4: Tensor
    landmarks_M52: Tensor
    image_M: Tensor
    ignored_I4: Tensor
    ignored_image_I: Tensor
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


class Key(NamedTuple):
    """A sample that is asked for: its number, the side of the crop, and how many samples came before it.

    Steps of large crops have fewer samples than numbers, so the last is not the first.
    """

    number: int
    side: int
    place: int


class Samples(Dataset):
    """Crops by `Key`.

    Args:
        images: to draw from.
        order: which of them each sample is cut from.
        rule: how they are cut.
        seed: the recipe's.
        decoded: where images lie decoded; those that are not among them are read from their files.
        readers: how many threads read the samples of a step; one does where images are decoded.
    """

    def __init__(
        self,
        images: Sequence[LabelledImage],
        order: Order,
        rule: Augment,
        seed: int,
        decoded: Mapping[ImagePath, Source] | None = None,
        readers: int = 1,
    ) -> None:
        self.images = images
        self.order = order
        self.rule = rule
        self.seed = seed
        self.decoded = decoded or {}
        # Threads are for decoding. Without it they gain nothing, and each that has resized keeps threads of OpenMP's,
        # which go on turning while the network computes: on two cores that took a fifth of a step.
        self.pool = ThreadPoolExecutor(readers, "reader") if readers > 1 and not self.decoded else None

    def __getitems__(self, keys: Sequence[Key]) -> list[Sample | DataError]:
        """Returns the samples of a step at once: what a DataLoader asks for where it can."""
        return list(self.pool.map(self.__getitem__, keys)) if self.pool else [self[key] for key in keys]

    def __getitem__(self, key: Key) -> Sample | DataError:
        # An error raised in a worker would come back with the worker's traceback for a message; so it is handed over.
        try:
            return self._sample(key)
        except DataError as problem:
            return problem

    def _sample(self, key: Key) -> Sample:
        random = generator(Stream.SAMPLE, self.seed, key.number)
        photometric_L = random.random(len(PHOTOMETRIC), np.float32)
        if random.random() < self.rule.mosaic:
            half = key.side // 2
            tiles = [self._cut(key, tile, half, random) for tile in range(4)]
            return replace(mosaic(tiles, half), photometric_L=photometric_L)
        return replace(self._cut(key, 0, key.side, random), photometric_L=photometric_L)

    def _cut(self, key: Key, tile: int, side: int, random: np.random.Generator) -> Sample:
        image = self.images[self.order.choose(key.place, tile, random)]
        source = self.decoded.get(image.path) or ImageFile(image.path)
        return cut(image, source, self.rule, side, random)


@dataclass(frozen=True, slots=True)
class Share:
    """Which of a step's samples this process looks at.

    Attributes:
        process, processes: this one's number among all that train the network together.
        accumulation: in how many parts, one after the other, a step is made.
    """

    process: int = 0
    processes: int = 1
    accumulation: int = 1

    def of(self, count: int) -> list[range]:
        """Returns this process's samples of each part, as places among the step's `count`.

        A part lies in one piece, so that it holds the same samples whatever the number of processes.
        """
        pieces = self.accumulation * self.processes
        edges = [count * piece // pieces for piece in range(pieces + 1)]
        mine = range(self.process, pieces, self.processes)
        return [range(edges[piece], edges[piece + 1]) for piece in mine]


class Steps(Sampler):
    """The samples of each step, from a step on: what makes a resumed run go on where it stopped.

    A step's number decides whether it looks at `batch` crops of the rule's side or, for faces too large for those, at a
    quarter as many of twice the side (two at least), which is the same work. Each part of a step is one batch.
    """

    def __init__(self, steps: range, batch: int, rule: Augment, seed: int, share: Share | None = None) -> None:
        self.steps, self.batch, self.rule, self.seed, self.share = steps, batch, rule, seed, share or Share()

    def size(self, step: int) -> tuple[int, int]:
        """Returns how many crops a step looks at in all, and their side."""
        if self.rule.large and generator(Stream.STEP_SIZE, self.seed, step).random() < self.rule.large:
            return crops_per_step(self.batch, is_large=True), 2 * self.rule.crop
        return self.batch, self.rule.crop

    def __iter__(self) -> Iterator[list[Key]]:
        before = sum(self.size(step)[0] for step in range(self.steps.start))
        for step in self.steps:
            count, side = self.size(step)
            for part in self.share.of(count):
                yield [Key(step * self.batch + place, side, before + place) for place in part]
            before += count

    def __len__(self) -> int:
        return len(self.steps) * self.share.accumulation


def end_readers(batches: Iterator[Any]) -> None:
    """Ends the processes that read for a loader's iterator, if there are any.

    They leave signals to us (stopping.py), so Python, which ends them by one as it ends itself, would wait for ever;
    and an error's traceback may keep the iterator, whose end would be theirs.
    """
    end = getattr(batches, "_shutdown_workers", None)
    if end is not None:
        end()


def crops_per_step(batch: int, is_large: bool) -> int:
    """Returns how many crops a step has, of those that look at large ones if there are such."""
    return max(2, batch // 4) if is_large else batch


def readable(batch: Batch | DataError) -> Batch:
    """Returns a batch as the loader gives it, unless one of its images could not be read.

    Raises:
        DataError: the image is named.
    """
    if isinstance(batch, DataError):
        raise batch
    return batch


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
        photometric_BL=torch.from_numpy(np.stack([each.photometric_L for each in samples])),
        faces_M4=torch.from_numpy(np.concatenate(faces)),
        landmarks_M52=torch.from_numpy(np.concatenate([each.landmarks_N52 for each in samples])),
        image_M=owners(faces),
        ignored_I4=torch.from_numpy(np.concatenate(ignored)),
        ignored_image_I=owners(ignored),
        names=tuple(each.name for each in samples),
    )
