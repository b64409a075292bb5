"""The network: what its cells mean, and that fusing changes nothing."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from mlcycle.training.grid import grids  # noqa: E402
from mlcycle.training.network import FaceNetwork  # noqa: E402

pytestmark = pytest.mark.training


@pytest.mark.parametrize("landmarks", [True, False])
def test_every_cell_of_every_grid_answers(landmarks: bool) -> None:
    network = FaceNetwork(width=4, depth=1, landmarks=landmarks).eval()
    logits, boxes, points = network(torch.zeros(2, 3, 96, 160))
    cells = sum(grid.rows * grid.columns for grid in grids(96, 160))
    assert cells == 12 * 20 + 6 * 10 + 3 * 5 + 2 * 3 + 1 * 2
    assert logits.shape == (2, cells)
    assert boxes.shape == (2, cells, 4)
    assert points.shape == (2, cells, 5 if landmarks else 0, 2)


def test_a_silent_head_puts_boxes_of_two_strides_around_each_cell() -> None:
    answers = [torch.zeros(1, 15, grid.rows, grid.columns) for grid in grids(64, 96)]
    _, boxes, points = FaceNetwork(width=4, depth=1, landmarks=True).decode(answers)
    # First cell of the finest grid: its middle is at (4, 4), exp(0) strides of 8 to each side.
    assert boxes[0, 0].tolist() == [-4, -4, 12, 12]
    # Second cell of the second row of the third grid: middle at (48, 48).
    third = grids(64, 96)[2]
    assert boxes[0, third.start + third.columns + 1].tolist() == [16, 16, 80, 80]
    # The only cell of the coarsest: it reaches beyond the input.
    assert boxes[0, -1].tolist() == [-64, -64, 192, 192]
    assert points[0, 0].tolist() == [[4, 4]] * 5


def test_a_fused_network_answers_as_the_unfused_one() -> None:
    torch.manual_seed(0)
    network = FaceNetwork(width=8, depth=2, landmarks=True)
    network.train()
    for _ in range(3):  # statistics of the normalisations that are not the initial ones
        network(torch.rand(2, 3, 64, 64) * 255)
    spread = [each.running_var for each in network.head[0].normalisations]
    assert not any(torch.allclose(spread[0], other) for other in spread[1:])
    network.eval()
    pixels = torch.rand(1, 3, 64, 96) * 255
    before = network(pixels)
    network.fuse()
    after = network.decode(network.answers(pixels))
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
