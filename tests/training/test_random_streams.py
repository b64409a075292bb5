"""Every random draw of a training has its own generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from mlcycle.training.data.augment import noise_field, noise_window  # noqa: E402
from mlcycle.training.data.samples import Key, Samples, Steps  # noqa: E402
from mlcycle.training.data.sampling_order import StreamedOrder  # noqa: E402
from mlcycle.training.random_streams import Stream, generator  # noqa: E402
from mlcycle.training.recipes.recipe import Augment  # noqa: E402

pytestmark = pytest.mark.training


def test_all_streams_differ_from_their_first_number() -> None:
    first = [generator(stream, 7, 3, part).integers(2**63) for stream in Stream for part in (0, 1)]
    assert len(set(first)) == len(first) == 2 * len(Stream)


def test_no_two_draws_of_one_number_share_a_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[tuple[int, ...]] = []
    default_rng = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: seeds.append(tuple(map(int, seed))) or default_rng(seed))
    number, seed = 2, 5
    shards = StreamedOrder([[0, 1], [2, 3]], seed, open_shards=1)
    drawn: dict[str, Any] = {
        "noise": noise_window(torch.zeros(300, 300, 3), 32, seed, number),
        "size": Steps(range(4), 4, Augment(large=0.5), seed).size(number),
        "order": [shards.choose(place, 0, default_rng(0)) for place in range(4 * number, 4 * number + 4)],
    }
    with pytest.raises(IndexError):  # no image is found, but the sample already has its generator
        Samples([], shards, Augment(), seed)[Key(number, 32, 4 * number)]
    assert sorted(drawn["order"]) == [0, 1, 2, 3]
    assert all(seed_and_number[:2] == (seed, number) for seed_and_number in seeds)
    # One each for the noise, the step's size, the sample, the shards' order, and the image order of each of two groups.
    assert len({(*each, 0, 0)[:4] for each in seeds}) == 6


def test_the_noise_differs_from_the_initial_weights() -> None:
    torch.manual_seed(1)
    assert not torch.equal(torch.randn(noise_field(8, 1).shape), noise_field(8, 1))
