"""The order of images: a streamed order opens few shards at a time, and skips no image."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mlcycle.datasets.labelled_image import LabelledImage  # noqa: E402
from mlcycle.datasets.member import Member  # noqa: E402
from mlcycle.training.data.sampling_order import StreamedOrder, make_order  # noqa: E402

pytestmark = pytest.mark.training

NOTHING = np.random.default_rng(0)
# 21 shards of 3 to 9 images.
SIZES = [3 + index % 7 for index in range(21)]
EDGES = np.cumsum([0, *SIZES])
SHARDS = [range(first, last) for first, last in pairwise(EDGES)]
LENGTH = int(EDGES[-1])


def epoch(order: StreamedOrder, number: int) -> list[int]:
    return [order.choose(place, 0, NOTHING) for place in range(number * LENGTH, (number + 1) * LENGTH)]


def test_each_image_comes_once_per_epoch_in_a_new_order():
    order = StreamedOrder(SHARDS, seed=4, open_shards=4)
    epochs = [epoch(order, number) for number in range(3)]
    assert all(sorted(each) == list(range(LENGTH)) for each in epochs)
    assert len({tuple(each) for each in epochs}) == 3
    assert epoch(StreamedOrder(SHARDS, seed=5, open_shards=4), 0) != epochs[0]


def test_few_shards_are_open_at_a_time_and_each_is_opened_once():
    shards = np.searchsorted(EDGES, epoch(StreamedOrder(SHARDS, seed=4, open_shards=4), 0), side="right") - 1
    spans = {shard: (np.flatnonzero(shards == shard)[0], np.flatnonzero(shards == shard)[-1]) for shard in range(21)}
    open_at = [sum(first <= at <= last for first, last in spans.values()) for at in range(LENGTH)]
    assert max(open_at) <= 4
    # The images of open shards are mixed, not read shard by shard.
    assert np.mean(shards[1:] != shards[:-1]) > 0.5


def test_an_order_is_independent_of_earlier_calls():
    whole = epoch(StreamedOrder(SHARDS, seed=4), 1)
    backwards = StreamedOrder(SHARDS, seed=4)
    again = [backwards.choose(place, 0, NOTHING) for place in reversed(range(LENGTH, 2 * LENGTH))]
    assert again[::-1] == whole
    sent = pickle.loads(pickle.dumps(backwards))
    assert sent.choose(LENGTH + 7, 0, NOTHING) == whole[7]


def test_other_tiles_of_a_mosaic_come_from_open_shards():
    order = StreamedOrder(SHARDS, seed=4, open_shards=3)
    shard_of = lambda number: int(np.searchsorted(EDGES, number, side="right") - 1)  # noqa: E731
    group = {shard_of(each) for each in epoch(order, 0)[: sum(sorted(SIZES)[:3])]}
    tiles = {order.choose(0, tile, np.random.default_rng(seed)) for seed in range(50) for tile in (1, 2, 3)}
    assert {shard_of(each) for each in tiles} <= group
    assert len(tiles) > 5
    assert sorted(epoch(order, 0)) == list(range(LENGTH))


def images(*shards: str) -> list[LabelledImage]:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, bool), np.zeros((0, 5, 2), np.float32)
    return [
        LabelledImage(Member(Path(shard), f"{number}.jpg", 0, 1), f"{number}", *nothing)
        for number, shard in enumerate(shards)
    ]


def test_a_weight_is_how_often_an_image_comes_per_epoch():
    order = make_order("streamed", images("a", "a", "b", "c"), (1.0, 1.0, 3.0, 2.0), seed=0)
    assert sorted(order.choose(place, 0, NOTHING) for place in range(7)) == [0, 1, 2, 2, 2, 3, 3]
