"""Weights of a shallower network that start a deeper one."""

from __future__ import annotations

import pytest
import skimage.data

torch = pytest.importorskip("torch")

from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.model.teacher import network_of  # noqa: E402
from mlcycle.training.run import checkpoint  # noqa: E402

pytestmark = pytest.mark.training

FACE_NANO = checkpoint.find_weights("face-nano")


def deeper(depth: int, stride: int = 8) -> FaceNetwork:
    network = FaceNetwork(width=16, depth=depth, landmarks=True, stride=stride)
    checkpoint.start(checkpoint.load(FACE_NANO)[0], network, FACE_NANO)
    return network


@torch.no_grad()
def test_a_deeper_network_finds_what_its_start_weights_find() -> None:
    given, image = network_of(checkpoint.load(FACE_NANO)[0]), torch.from_numpy(skimage.data.astronaut()[None]).float()
    wanted, got = (each(image.permute(0, 3, 1, 2)) for each in (given, deeper(3).eval()))
    assert all(torch.allclose(one, other, rtol=1e-3, atol=1e-2) for one, other in zip(wanted, got, strict=True))


@torch.no_grad()
def test_a_batch_of_its_own_statistics_changes_scores_little() -> None:
    """A step of training normalises by the batch: the added blocks must not undo there what was learnt."""
    image = torch.from_numpy(skimage.data.astronaut()[None]).float().permute(0, 3, 1, 2)
    logits = torch.cat([deeper(depth).train()(image)[0] for depth in (1, 2, 3)])
    correlation = torch.corrcoef(logits)
    assert correlation[0, 1] > 0.95, "blocks that normalise to a mean of 0 and a variance of 1 have .87"
    assert correlation[0, 2] > 0.9


def test_depth_and_a_finer_grid_are_added_together() -> None:
    network, given = deeper(2, stride=4), network_of(checkpoint.load(FACE_NANO)[0])
    assert torch.equal(network.stages[3][1].convolution.weight, given.stages[3][1].convolution.weight)
    assert network.stages[3][2].convolution.weight[5, 5, 1, 1] == 1
    assert network.stem.convolution.stride == (1, 1)
