"""Which image a sample is cut from, as a pure function of the seed and of how many samples came before it.

Images drawn at random lie anywhere on the disk, which is fine for data that fits into memory. Streamed images come
shard by shard: a few shards are open at a time, and each image comes once per epoch. Nothing is buffered, so a
checkpoint has nothing to store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import Member
from mlcycle.training.random_streams import Stream, generator

# The number of shards that are open at a time; images are shuffled among them.
OPEN_SHARDS = 8


class Order(Protocol):
    """Chooses images by their numbers."""

    def choose(self, place: int, tile: int, random: np.random.Generator) -> int:
        """Returns the number of an image.

        Args:
            place: the number of samples before this one.
            tile: the tile's index in a mosaic; 0 for a sample cut from one image.
            random: the sample's generator.
        """


class RandomOrder:
    """Draws images at random, in proportion to their weights."""

    def __init__(self, weights: Sequence[float]) -> None:
        self.cumulative = np.cumsum(np.asarray(weights, np.float64))

    def choose(self, place: int, tile: int, random: np.random.Generator) -> int:
        """See `Order`."""
        found = np.searchsorted(self.cumulative, random.random() * self.cumulative[-1], side="right")
        return min(int(found), len(self.cumulative) - 1)


class StreamedOrder:
    """Reads shards in a new order each epoch, a few at a time, with their images shuffled among them.

    Each image is a sample's first or only tile once per epoch. The other tiles of a mosaic are drawn from the open
    shards.

    Args:
        shards: the numbers of the images of each shard; an image listed twice comes twice per epoch.
        seed: the recipe's.
    """

    def __init__(self, shards: Sequence[Sequence[int]], seed: int, open_shards: int = OPEN_SHARDS) -> None:
        self.shards = [np.array(each, np.int64) for each in shards if len(each)]
        self.seed, self.groups = seed, -(-len(self.shards) // open_shards)
        self.length = sum(map(len, self.shards))
        self._ends: dict[int, np.ndarray] = {}
        self._open: dict[tuple[int, int], np.ndarray] = {}

    def choose(self, place: int, tile: int, random: np.random.Generator) -> int:
        """See `Order`."""
        epoch, at = divmod(place, self.length)
        ends_G = self._ends_of(epoch)
        group = int(np.searchsorted(ends_G, at, side="right"))
        open_N = self._images(epoch, group)
        first = int(ends_G[group]) - len(open_N)
        return int(open_N[at - first if tile == 0 else random.integers(len(open_N))])

    def _grouped(self, epoch: int) -> list[np.ndarray]:
        """Returns the shards of each group, by number; groups are as equal in size as possible."""
        order = generator(Stream.SHARD_ORDER, self.seed, epoch).permutation(len(self.shards))
        return np.array_split(order, self.groups)

    def _ends_of(self, epoch: int) -> np.ndarray:
        """Returns the number of images of an epoch up to the end of each group."""
        found = self._ends.get(epoch)
        if found is None:
            counts = [sum(len(self.shards[each]) for each in group) for group in self._grouped(epoch)]
            found = np.cumsum(counts)
            self._ends = _last_of(self._ends) | {epoch: found}
        return found

    def _images(self, epoch: int, group: int) -> np.ndarray:
        found = self._open.get((epoch, group))
        if found is None:
            images = np.concatenate([self.shards[each] for each in self._grouped(epoch)[group]])
            found = generator(Stream.IMAGE_ORDER, self.seed, epoch, group).permutation(images)
            # Several threads read this: the dictionary is replaced, never modified. A step can span two groups.
            self._open = _last_of(self._open) | {(epoch, group): found}
        return found


def make_order(
    kind: str, images: Sequence[LabelledImage], weights: Sequence[float], seed: int
) -> RandomOrder | StreamedOrder:
    """Returns the order of this kind: random or streamed.

    With streamed, images must be members of shards, and weights whole numbers: how often an image comes per epoch.
    """
    if kind == "random":
        return RandomOrder(weights)
    shards: dict[tuple[Path, int], list[int]] = defaultdict(list)
    for number, (image, weight) in enumerate(zip(images, weights, strict=True)):
        assert isinstance(image.path, Member)
        for again in range(int(weight)):
            shards[image.path.shard, again].append(number)
    return StreamedOrder(list(shards.values()), seed)


def _last_of(some: dict[Any, np.ndarray]) -> dict[Any, np.ndarray]:
    return dict(list(some.items())[-1:])
