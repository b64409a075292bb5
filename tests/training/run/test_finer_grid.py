"""Weights of a finest grid of stride 8 that start a network of stride 4."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.model.teacher import network_of  # noqa: E402
from mlcycle.training.run import checkpoint  # noqa: E402
from mlcycle.training.run.finer_grid import for_finer_grid, is_coarser  # noqa: E402

pytestmark = pytest.mark.training


@torch.no_grad()
def test_it_answers_on_an_image_what_the_other_answers_on_it_enlarged_twice() -> None:
    coarse = network_of(checkpoint.load(checkpoint.find_weights("face-nano"))[0])
    fine = FaceNetwork(width=16, depth=1, landmarks=True, stride=4)
    state = for_finer_grid(coarse.state_dict())
    assert is_coarser(coarse.state_dict(), fine.state_dict())
    assert not is_coarser(fine.state_dict(), fine.state_dict())
    fine.load_state_dict(state)
    fine.eval()
    image = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(1)) * 255
    enlarged = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    wanted, got = coarse(enlarged), fine(image)
    shared = wanted[0].shape[1]
    assert got[0].shape[1] == shared + 2, "the sixth grid, of stride 128, has two cells"
    assert torch.allclose(got[0][:, :shared], wanted[0], atol=1e-3)
    assert torch.allclose(got[1][:, :shared], wanted[1] / 2, atol=1e-2)
    assert torch.allclose(got[2][:, :shared], wanted[2] / 2, atol=1e-2)


def test_a_run_of_stride_4_starts_from_weights_of_stride_8() -> None:
    path = checkpoint.find_weights("face-nano")
    network = FaceNetwork(width=16, depth=1, landmarks=True, stride=4)
    checkpoint.start(checkpoint.load(path)[0], network, path)
    given = network_of(checkpoint.load(path)[0])
    assert torch.equal(network.stages[2][0].convolution.weight, given.stages[2][0].convolution.weight)
    assert torch.equal(network.head[1].normalisations[5].weight, given.head[1].normalisations[4].weight)
    assert network.stem.convolution.stride == (1, 1)
