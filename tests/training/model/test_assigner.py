"""The assignment of cells to faces."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from mlcycle.training.model.assigner import assign, pairwise_iou  # noqa: E402
from mlcycle.training.model.grid import grids  # noqa: E402

pytestmark = pytest.mark.training

GRIDS = grids(128, 128, 8)
CELLS = sum(grid.rows * grid.columns for grid in GRIDS)


def middles() -> torch.Tensor:
    rows = []
    for grid in GRIDS:
        for y in range(grid.rows):
            rows += [((x + 0.5) * grid.stride, (y + 0.5) * grid.stride) for x in range(grid.columns)]
    return torch.tensor(rows)


def outputs(side: float, images: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Every cell predicts a square of this side around its centre, with a score of one half."""
    centre = middles()
    boxes = torch.cat((centre - side / 2, centre + side / 2), dim=1)
    return torch.zeros(images, CELLS), boxes.expand(images, CELLS, 4)


def test_assigned_cells_lie_inside_their_face_if_it_contains_any() -> None:
    faces = torch.tensor([[20.0, 30.0, 60.0, 80.0], [90.0, 90.0, 120.0, 126.0]])
    pairs = assign(*outputs(40), GRIDS, faces, torch.tensor([0, 0]))
    x, y = middles()[pairs.cell_P].T
    mine = faces[pairs.face_P]
    assert set(pairs.face_P.tolist()) == {0, 1}
    assert ((x > mine[:, 0]) & (x < mine[:, 2]) & (y > mine[:, 1]) & (y < mine[:, 3])).all()


def test_a_cell_is_assigned_to_one_face_only() -> None:
    faces = torch.tensor([[40.0, 40.0, 80.0, 80.0], [44.0, 44.0, 84.0, 84.0], [42.0, 38.0, 78.0, 82.0]])
    pairs = assign(*outputs(40), GRIDS, faces, torch.tensor([0, 0, 0]))
    assert len(set(pairs.cell_P.tolist())) == len(pairs.cell_P)


def test_a_face_smaller_than_a_cell_still_has_one() -> None:
    pairs = assign(*outputs(8), GRIDS, torch.tensor([[65.0, 65.0, 69.0, 70.0]]), torch.tensor([0]))
    assert len(pairs.cell_P) >= 1


def test_a_well_fitted_face_takes_more_cells() -> None:
    face, image = torch.tensor([[32.0, 32.0, 96.0, 96.0]]), torch.tensor([0])
    good = assign(*outputs(64), GRIDS, face, image)
    bad = assign(*outputs(6), GRIDS, face, image)
    assert len(good.cell_P) > len(bad.cell_P) == 1


def test_images_of_a_batch_do_not_mix() -> None:
    logits, boxes = outputs(40, images=3)
    pairs = assign(logits, boxes, GRIDS, torch.tensor([[20.0, 30.0, 60.0, 80.0]]), torch.tensor([2]))
    assert set(pairs.image_P.tolist()) == {2}


def test_a_face_at_the_edge_takes_cells_inside_the_image() -> None:
    pairs = assign(*outputs(30), GRIDS, torch.tensor([[100.0, 0.0, 128.0, 20.0]]), torch.tensor([0]))
    x, y = middles()[pairs.cell_P].T
    assert len(pairs.cell_P)
    # Cells beyond the right edge must not wrap to other cells, far below or above the face.
    assert ((x > 100) & (y < 20)).all()


def test_of_two_identical_faces_the_first_gets_the_cells() -> None:
    faces = torch.tensor([[40.0, 40.0, 80.0, 80.0]]).repeat(2, 1)
    pairs = assign(*outputs(40), GRIDS, faces, torch.tensor([0, 0]))
    assert len(set(pairs.cell_P.tolist())) == len(pairs.cell_P)


def test_no_faces_give_no_pairs() -> None:
    pairs = assign(*outputs(30), GRIDS, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert len(pairs.cell_P) == 0


def test_intersection_over_union_of_half_overlapping_squares() -> None:
    one, other = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])
    assert pairwise_iou(one, other).item() == pytest.approx(1 / 3)
