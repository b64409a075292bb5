"""Training samples: which photograph, cut how, as a pure function of the seed and the sample's number.

Since sample number i depends on nothing but (seed, i), the order of the data does not depend on the number of workers,
and a resumed run goes on with exactly the samples that an unbroken one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mlcycle.datasets.photograph import LabelledPhotograph
from mlcycle.errors import DataError
from mlcycle.training.crop import PhotoFile, Sample, Source, cut, mosaic
from mlcycle.training.recipe import LOOKS, Augment

# Sets the draw of a step's size apart from the draws of its samples.
LARGE_DRAW = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """B crops: the faces of all of them in one list, with the picture that each is in; the same for ignored boxes.

    `looks_BL` is what was drawn for the look of each, from 0 to 1.
    """

    pixels_BSS3: Tensor
    looks_BL: Tensor
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
    """Crops by number and side.

    Args:
        photographs: to draw from.
        weights: how often each is drawn, relative to the others.
        rule: how they are cut.
        seed: the recipe's.
        decoded: where photographs lie decoded; those that are not among them are read from their files.
        readers: how many threads read the samples of a step.
    """

    def __init__(
        self,
        photographs: Sequence[LabelledPhotograph],
        weights: Sequence[float],
        rule: Augment,
        seed: int,
        decoded: Mapping[Path, Source] | None = None,
        readers: int = 1,
    ) -> None:
        self.photographs = photographs
        self.cumulative = np.cumsum(np.asarray(weights, np.float64))
        self.rule = rule
        self.seed = seed
        self.decoded = decoded or {}
        self.pool = ThreadPoolExecutor(readers, "reader") if readers > 1 else None

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Sample | DataError]:
        """Returns the samples of a step at once: what a DataLoader asks for where it can."""
        return list(self.pool.map(self.__getitem__, keys)) if self.pool else [self[key] for key in keys]

    def __getitem__(self, key: tuple[int, int]) -> Sample | DataError:
        # An error raised in a worker would come back with the worker's traceback for a message; so it is handed over.
        try:
            return self._sample(*key)
        except DataError as problem:
            return problem

    def _sample(self, number: int, side: int) -> Sample:
        random = np.random.default_rng((self.seed, number))
        looks_L = random.random(len(LOOKS), np.float32)
        if random.random() < self.rule.mosaic:
            half = side // 2
            return replace(mosaic([self._cut(random, half) for _ in range(4)], half), looks_L=looks_L)
        return replace(self._cut(random, side), looks_L=looks_L)

    def _cut(self, random: np.random.Generator, side: int) -> Sample:
        place = np.searchsorted(self.cumulative, random.random() * self.cumulative[-1], side="right")
        photograph = self.photographs[min(int(place), len(self.photographs) - 1)]
        source = self.decoded.get(photograph.path) or PhotoFile(photograph.path)
        return cut(photograph, source, self.rule, side, random)


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
        if np.random.default_rng((self.seed, step, LARGE_DRAW)).random() < self.rule.large:
            return fewest(self.batch, is_large=True), 2 * self.rule.crop
        return self.batch, self.rule.crop

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            count, side = self.size(step)
            for part in self.share.of(count):
                yield [(step * self.batch + place, side) for place in part]

    def __len__(self) -> int:
        return len(self.steps) * self.share.accumulation


def fewest(batch: int, is_large: bool) -> int:
    """Returns how many crops a step has, of those that look at large ones if there are such."""
    return max(2, batch // 4) if is_large else batch


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
        looks_BL=torch.from_numpy(np.stack([each.looks_L for each in samples])),
        faces_M4=torch.from_numpy(np.concatenate(faces)),
        landmarks_M52=torch.from_numpy(np.concatenate([each.landmarks_N52 for each in samples])),
        picture_M=owners(faces),
        ignored_I4=torch.from_numpy(np.concatenate(ignored)),
        ignored_picture_I=owners(ignored),
        names=tuple(each.name for each in samples),
    )
