"""Distillation: a teacher's predictions on the same images are soft targets for the cells that both networks have.

The two losses are those of Yang et al. 2023, "Bridging Cross-task Protocol Inconsistency for Distillation in Dense
Object Detection", in the form of the student's own losses. The score loss is a binary cross-entropy against the
teacher's score, weighted by their difference; here by its square, as in the quality focal loss, so that its gradient
vanishes where both agree. The box loss is a generalised IoU loss against the teacher's box, weighted by its score.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.model.grid import Grid
from mlcycle.training.model.losses import generalised_iou_loss

# Below this score a teacher's cell has no face, and its box is meaningless.
LEAST_SCORE = 0.05


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """A teacher's predictions for the cells that it shares with a student.

    Attributes:
        scores_BA: 0 to 1.
        boxes_BA4: x1 y1 x2 y2 in input pixels.
        counts_BA: False for cells whose place is predicted on a finer grid that only the teacher has.
    """

    scores_BA: Tensor
    boxes_BA4: Tensor
    counts_BA: Tensor


@dataclass(frozen=True, slots=True)
class DistillationSums:
    """Sums of the distillation losses over cells, before they are divided by the count of a whole step.

    Attributes:
        score, box: scalars.
        count: the sum of the teacher's scores of its faces, a soft count of their cells; without a gradient.
    """

    score: Tensor
    box: Tensor
    count: Tensor

    def over(self, count: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the score and box losses as means over `count`, the count of all images of the step."""
        return self.score / count.clamp(min=1), self.box / count.clamp(min=1)


def teacher_targets(logits_BA: Tensor, boxes_BA4: Tensor, grids: tuple[Grid, ...], finest: int) -> TeacherTargets:
    """Returns a teacher's targets for the cells of its grids from the stride `finest` on.

    A teacher with finer grids than its student predicts small faces there, and background on the coarser grids. That is
    wrong for a student that has only the coarser grids, so such cells do not count.
    """
    scores_BA = logits_BA.float().sigmoid()
    finer = [grid for grid in grids if grid.stride < finest]
    shared = [grid for grid in grids if grid.stride >= finest]
    start = shared[0].start
    counts_BA = torch.ones_like(scores_BA[:, start:], dtype=torch.bool)
    for grid in finer:
        cells = shared[0].rows * shared[0].columns
        map_B1RC = scores_BA[:, grid.start : grid.start + grid.rows * grid.columns].view(-1, 1, grid.rows, grid.columns)
        best_B1RC = functional.max_pool2d(map_B1RC, finest // grid.stride)
        counts_BA[:, :cells] &= best_B1RC.flatten(1) < LEAST_SCORE
    return TeacherTargets(scores_BA[:, start:], boxes_BA4[:, start:].float(), counts_BA)


def distillation_loss(logits_BA: Tensor, boxes_BA4: Tensor, targets: TeacherTargets) -> DistillationSums:
    """Compares a student's outputs with its teacher's; grids that only the student has are left out.

    Args:
        logits_BA, boxes_BA4: the student's outputs, for the cells of all its grids, finest first.
    """
    cells = targets.scores_BA.shape[1]
    logits, boxes = logits_BA[:, -cells:].float(), boxes_BA4[:, -cells:].float()
    weights = (targets.scores_BA - logits.sigmoid()).square()
    score_losses = functional.binary_cross_entropy_with_logits(logits, targets.scores_BA, reduction="none") * weights
    # Indices instead of a mask, whose elements would be counted again at every use.
    faces = (targets.counts_BA & (targets.scores_BA >= LEAST_SCORE)).nonzero(as_tuple=True)
    scores = targets.scores_BA[faces]
    box_losses = generalised_iou_loss(boxes[faces], targets.boxes_BA4[faces])
    return DistillationSums((score_losses * targets.counts_BA).sum(), (box_losses * scores).sum(), scores.sum())
