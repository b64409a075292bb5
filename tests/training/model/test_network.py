"""The network: the decoding of its cells, and that fusing does not change its outputs."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from mlcycle.training.model.grid import grids  # noqa: E402
from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.trainer import normalise_by  # noqa: E402

pytestmark = pytest.mark.training


@pytest.mark.parametrize("landmarks", [True, False])
@pytest.mark.parametrize("stride", [8, 4])
def test_every_cell_of_every_grid_has_outputs(landmarks: bool, stride: int) -> None:
    network = FaceNetwork(width=4, depth=1, landmarks=landmarks, stride=stride).eval()
    logits, boxes, points = network(torch.zeros(2, 3, 96, 160))
    cells = sum(grid.rows * grid.columns for grid in grids(96, 160, stride))
    finest = 24 * 40 if stride == 4 else 0
    assert cells == finest + 12 * 20 + 6 * 10 + 3 * 5 + 2 * 3 + 1 * 2
    assert logits.shape == (2, cells)
    assert boxes.shape == (2, cells, 4)
    assert points.shape == (2, cells, 5 if landmarks else 0, 2)


def test_a_zero_head_predicts_boxes_of_one_stride_at_each_cell() -> None:
    cells = grids(64, 96, 8)
    outputs = [torch.zeros(1, 15, grid.rows, grid.columns) for grid in cells]
    _, boxes, points = FaceNetwork(width=4, depth=1, landmarks=True).decode(outputs)
    # First cell of the finest grid: its centre is (4, 4), and its sides are exp(0) strides of 8.
    assert boxes[0, 0].tolist() == [0, 0, 8, 8]
    # Second cell of the second row of the third grid: centre (48, 48).
    assert boxes[0, cells[2].start + cells[2].columns + 1].tolist() == [32, 32, 64, 64]
    # The only cell of the coarsest grid: it extends beyond the input.
    assert boxes[0, -1].tolist() == [0, 0, 128, 128]
    assert points[0, 0].tolist() == [[4, 4]] * 5


def test_a_cell_can_predict_a_face_away_from_its_centre() -> None:
    outputs = [torch.zeros(1, 15, grid.rows, grid.columns) for grid in grids(64, 64, 8)]
    # The second cell of the first row of the finest grid: its centre is (12, 4).
    outputs[0][0, 1:5, 0, 1] = torch.tensor([0.5, -0.25, math.log(0.5), math.log(0.75)])
    outputs[0][0, 5:7, 0, 1] = torch.tensor([1.0, 2.0])
    _, boxes, points = FaceNetwork(width=4, depth=1, landmarks=True).decode(outputs)
    assert boxes[0, 1].tolist() == pytest.approx([14, -1, 18, 5])
    assert points[0, 1].tolist() == [[20, 20], *[[12, 4]] * 4]


@pytest.mark.parametrize("stride", [8, 4])
def test_a_fused_network_equals_the_unfused_one(stride: int) -> None:
    torch.manual_seed(0)
    network = FaceNetwork(width=8, depth=2, landmarks=True, stride=stride)
    network.train()
    for _ in range(3):  # statistics of the normalisations that are not the initial ones
        network(torch.rand(2, 3, 64, 64) * 255)
    spread = [each.running_var for each in network.head[0].normalisations]
    assert not any(torch.allclose(spread[0], other) for other in spread[1:])
    network.eval()
    pixels = torch.rand(1, 3, 64, 96) * 255
    before = network(pixels)
    network.fuse()
    after = network.decode(network.raw_maps(pixels))
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_folding_a_kept_normalisation_changes_neither_outputs_nor_gradients() -> None:
    torch.manual_seed(1)
    network = FaceNetwork(width=4, depth=1, landmarks=True)
    images = 255 * torch.rand(2, 3, 64, 96)
    for _ in range(3):
        network(images)  # gives the normalisations statistics of their own

    def outputs_and_gradients() -> list[torch.Tensor]:
        network.zero_grad()
        maps = network.raw_maps(images / 255)
        sum(each.square().mean() for each in maps).backward()
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        assert len(gradients) == len(list(network.parameters()))
        return [*maps, *gradients]

    network.eval()
    plain = outputs_and_gradients()
    normalise_by(network, is_running=True)
    before = {name: value.clone() for name, value in network.named_buffers()}
    folded = outputs_and_gradients()
    for one, other in zip(plain, folded, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    # Last bits differ, so the second time it was folded.
    assert not all(torch.equal(one, other) for one, other in zip(plain, folded, strict=True))
