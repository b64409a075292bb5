"""Training samples: each is a pure function of the seed and the sample's number.

So the order of the data does not depend on the number of workers, and a resumed run continues with exactly the samples
of an uninterrupted one.
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
    """B crops. The faces of all crops are in one list, with the index of each face's crop; so are ignored boxes.

    `photometric_BL` holds random numbers, 0 to 1, in the order of `recipe.PHOTOMETRIC`.
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
    """The key of a sample: its number, the side of the crop, and how many samples come before it.

    A step of large crops uses fewer samples than it has numbers, so `place` can be smaller than `number`.
    """

    number: int
    side: int
    place: int


class Samples(Dataset):
    """Crops by `Key`.

    Args:
        images: the training images.
        order: chooses the image of each sample.
        rule: how crops are cut.
        seed: the recipe's.
        decoded: decoded images; all others are read from their files.
        readers: the number of threads that read the samples of a step; decoded images are read by one thread.
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
        # Threads speed up decoding only. Without it, each thread that resizes would keep OpenMP threads spinning while
        # the network computes: on two cores this took a fifth of a step.
        self.pool = ThreadPoolExecutor(readers, "reader") if readers > 1 and not self.decoded else None

    def __getitems__(self, keys: Sequence[Key]) -> list[Sample | DataError]:
        """Returns the samples of a step at once; DataLoader calls this method if it exists."""
        return list(self.pool.map(self.__getitem__, keys)) if self.pool else [self[key] for key in keys]

    def __getitem__(self, key: Key) -> Sample | DataError:
        # Returned instead of raised: a DataLoader would replace the message by the worker's traceback.
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
    """This process's share of a step's samples.

    Attributes:
        process, processes: the rank of this process, and the number of processes.
        accumulation: the number of parts of a step.
    """

    process: int = 0
    processes: int = 1
    accumulation: int = 1

    def of(self, count: int) -> list[range]:
        """Returns this process's samples of each part, as indices among the step's `count`.

        A part is contiguous, so that it holds the same samples for any number of processes.
        """
        pieces = self.accumulation * self.processes
        edges = [count * piece // pieces for piece in range(pieces + 1)]
        mine = range(self.process, pieces, self.processes)
        return [range(edges[piece], edges[piece + 1]) for piece in mine]


class Steps(Sampler):
    """The samples of each step, from a given step on, so that a resumed run continues where it stopped.

    The step's number decides whether it has `batch` crops of the rule's side or, for faces too large for those, a
    quarter as many (two at least) of twice the side, which costs the same. Each part of a step is one batch.
    """

    def __init__(self, steps: range, batch: int, rule: Augment, seed: int, share: Share | None = None) -> None:
        self.steps, self.batch, self.rule, self.seed, self.share = steps, batch, rule, seed, share or Share()

    def size(self, step: int) -> tuple[int, int]:
        """Returns the number of crops of a step, and their side."""
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
    """Ends the worker processes of a loader's iterator, if it has any.

    The workers ignore SIGTERM (stopping.py), with which Python ends them at exit, so Python would wait forever. And an
    error's traceback may keep the iterator alive, which would otherwise end them when it is deleted.
    """
    end = getattr(batches, "_shutdown_workers", None)
    if end is not None:
        end()


def crops_per_step(batch: int, is_large: bool) -> int:
    """Returns the number of crops of a step; `is_large` for a step of large crops."""
    return max(2, batch // 4) if is_large else batch


def readable(batch: Batch | DataError) -> Batch:
    """Returns the loader's result if it is a batch.

    Raises:
        DataError: an image of the batch cannot be read; the error names it.
    """
    if isinstance(batch, DataError):
        raise batch
    return batch


def collate(results: Sequence[Sample | DataError]) -> Batch | DataError:
    """Combines samples into a batch; returns the error instead if one of them could not be read."""
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
