"""The detection losses."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torchvision.ops import generalized_box_iou_loss  # noqa: E402

from mlcycle.training.model import losses  # noqa: E402
from mlcycle.training.model.grid import grids  # noqa: E402

pytestmark = pytest.mark.training


def test_cells_in_ignored_boxes_have_no_loss() -> None:
    torch.manual_seed(1)
    levels = grids(96, 128, 8)
    corner = torch.rand(12, 2) * 90
    ignored = torch.cat((corner, corner + torch.rand(12, 2) * 60), dim=1)
    image = torch.arange(12) % 3
    counts = losses.outside_ignored(ignored, image, levels, batch=3)
    for index in range(3):
        expected = []
        for grid in levels:
            for row in range(grid.rows):
                for column in range(grid.columns):
                    x, y = (column + 0.5) * grid.stride, (row + 0.5) * grid.stride
                    expected.append(not any(
                        x1 <= x < x2 and y1 <= y < y2 for x1, y1, x2, y2 in ignored[image == index].tolist()
                    ))  # fmt: skip
        assert counts[index].tolist() == expected


def test_an_ignored_cell_has_no_loss_for_any_score() -> None:
    target = torch.tensor([[0.8, 0.0, 0.0]])
    weights = torch.tensor([[1.0, 1.0, 0.0]])
    one = losses.score_loss(torch.tensor([[1.0, -2.0, -9.0]]), target, weights)
    other = losses.score_loss(torch.tensor([[1.0, -2.0, 9.0]]), target, weights)
    assert one == other > 0


def test_a_cell_of_twice_the_weight_costs_twice_as_much() -> None:
    logits, target = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.8, 0.0]])
    first, second = (losses.score_loss(logits, target, torch.tensor([each])) for each in ([1.0, 0.0], [0.0, 1.0]))
    both = losses.score_loss(logits, target, torch.tensor([[2.0, 0.5]]))
    assert both.item() == pytest.approx(2 * first.item() + 0.5 * second.item())


def test_a_score_equal_to_its_target_has_no_loss() -> None:
    target = torch.tensor([[0.7, 0.2]])
    assert losses.score_loss(torch.logit(target), target, torch.ones(1, 2)) < 1e-6


def test_without_focus_the_score_loss_is_plain_cross_entropy() -> None:
    logits, target, weights = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.8, 0.0]]), torch.tensor([[2.0, 0.5]])
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, weights, reduction="sum")
    assert losses.score_loss(logits, target, weights, 0.0).item() == pytest.approx(plain.item())
    assert losses.score_loss(logits, target, weights, 1.0) < plain
    logits = torch.tensor([[-200.0]], requires_grad=True)  # nothing is missed: the power has no gradient of its own
    losses.score_loss(logits, torch.zeros(1, 1), torch.ones(1, 1), 0.0).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_points_without_a_label_are_left_out() -> None:
    faces = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    labels = torch.full((2, 5, 2), float("nan"))
    labels[0, 0] = torch.tensor([3.0, 4.0])
    guess = torch.zeros(2, 5, 2, requires_grad=True)
    loss = losses.landmark_loss(guess, labels, faces)
    loss.backward()
    assert guess.grad is not None
    assert torch.isfinite(guess.grad).all()
    assert guess.grad[0, 0].abs().min() > 0
    assert guess.grad.abs().sum() == guess.grad[0, 0].abs().sum()


@pytest.mark.parametrize("count", [0, 3])
def test_box_loss_is_zero_for_perfect_boxes_and_for_none(count: int) -> None:
    boxes = torch.tensor([[1.0, 2.0, 30.0, 40.0]]).repeat(count, 1)
    assert losses.box_loss(boxes, boxes, torch.ones(count)).item() == pytest.approx(0, abs=1e-6)


def test_the_box_loss_equals_torchvisions() -> None:
    """For boxes that overlap, are disjoint, touch, contain one another, and have no area."""
    rows = [(0, 0, 10, 10), (5, 5, 15, 20), (20, 0, 30, 10), (10, 0, 20, 10), (2, 3, 4, 9), (7, 7, 7, 7)]
    a, b = torch.tensor([[*one, *other] for one in rows for other in rows], dtype=torch.float32).split(4, dim=1)
    guesses = [a.clone().requires_grad_() for _ in range(2)]
    ours = losses.generalised_iou_loss(guesses[0], b)
    theirs = generalized_box_iou_loss(guesses[1], b, eps=losses.SMALLEST_AREA)
    torch.testing.assert_close(ours, theirs)
    # Where two edges coincide, the loss has two one-sided derivatives.
    unequal = ~torch.stack([(a[:, at::2, None] == b[:, None, at::2]).any(2).any(1) for at in (0, 1)]).any(0)
    gradients = [torch.autograd.grad(each.sum(), guess)[0] for each, guess in zip((ours, theirs), guesses, strict=True)]
    assert unequal.sum() >= 10
    torch.testing.assert_close(gradients[0][unequal], gradients[1][unequal])


def test_a_face_counts_the_same_for_any_number_of_cells() -> None:
    face_P = torch.tensor([4, 0, 4, 4, 4, 2])
    weights = losses.per_face_weights(face_P, 5)
    totals = torch.zeros(5).index_add_(0, face_P, weights)
    assert totals.tolist() == pytest.approx([1, 0, 1, 0, 1])
    # Two wrong boxes of one face weigh as much as one wrong box of another.
    faces = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(3, 1)
    away = faces + 20
    first_misses = torch.stack((away[0], away[1], faces[2]))
    second_misses = torch.stack((faces[0], faces[1], away[2]))
    weights = losses.per_face_weights(torch.tensor([0, 0, 1]), 2)
    one, other = (losses.box_loss(boxes, faces, weights) for boxes in (first_misses, second_misses))
    assert one.item() == pytest.approx(other.item())
    assert one.item() > 0.5


def test_without_faces_there_are_no_weights() -> None:
    assert losses.per_face_weights(torch.zeros(0, dtype=torch.long), 0).shape == (0,)
