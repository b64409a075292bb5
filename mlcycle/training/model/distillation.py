"""What a teacher tells a student: its answers about the same images, as a soft target for the cells that both have.

The two losses are those of Yang et al. 2023, "Bridging Cross-task Protocol Inconsistency for Distillation in Dense
Object Detection", in the forms that the student's own losses have: each cell's score is to be the teacher's (a binary
cross-entropy that counts where both differ; here with the square of the quality focal loss, so that it is flat where
both agree), and its box is to lie on the teacher's. A box counts as much as the teacher is sure that there is a face.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.model.grid import Grid
from mlcycle.training.model.losses import generalised_iou_loss

# Cells to which the teacher gives less have no face, and what it says of their boxes means nothing.
LEAST_SCORE = 0.05


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """What a teacher says about the cells of its own grids, and which of them hold.

    Attributes:
        scores_BA: 0 to 1.
        boxes_BA4: x1 y1 x2 y2 in input pixels.
        counts_BA: False where a finer grid of the teacher's answers in the cell's place.
    """

    scores_BA: Tensor
    boxes_BA4: Tensor
    counts_BA: Tensor


@dataclass(frozen=True, slots=True)
class DistillationSums:
    """How far a student is from its teacher: sums over cells, before they are divided by the counts of a whole step.

    Attributes:
        score, box: scalars.
        count: the sum of the teacher's scores where it sees a face, a soft count of such cells; without a gradient.
    """

    score: Tensor
    box: Tensor
    count: Tensor

    def over(self, count: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the losses of score and box: divided by the count of all images that they are to be means of."""
        return self.score / count.clamp(min=1), self.box / count.clamp(min=1)


def teacher_targets(logits_BA: Tensor, boxes_BA4: Tensor, grids: tuple[Grid, ...], finest: int) -> TeacherTargets:
    """Returns what a teacher says about the cells of its grids from the stride `finest` on.

    A teacher with finer grids than its student answers on these for small faces, and then says "no face" on the coarser
    ones. That is no lesson for a student who has only those, so such cells do not count.
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


def distillation_loss(logits_BA: Tensor, boxes_BA4: Tensor, told: TeacherTargets) -> DistillationSums:
    """Compares a student's answers with what it was told; a student that has finer grids is told nothing about those.

    Args:
        logits_BA, boxes_BA4: the student's answers, for the cells of all its grids, finest first.
    """
    cells = told.scores_BA.shape[1]
    logits, boxes = logits_BA[:, -cells:].float(), boxes_BA4[:, -cells:].float()
    apart = (told.scores_BA - logits.sigmoid()).square()
    each = functional.binary_cross_entropy_with_logits(logits, told.scores_BA, reduction="none") * apart
    # As numbers and not as a mask, which would be counted anew each time that it picks.
    seen = (told.counts_BA & (told.scores_BA >= LEAST_SCORE)).nonzero(as_tuple=True)
    sure = told.scores_BA[seen]
    beside = generalised_iou_loss(boxes[seen], told.boxes_BA4[seen])
    return DistillationSums((each * told.counts_BA).sum(), (beside * sure).sum(), sure.sum())
