"""What the network is told about its answers: one number for scores, boxes and landmarks each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.model.grid import Grid

# A miss of this share of the face's size is where the landmark loss turns from square to straight.
LANDMARK_TURN = 0.05
# A cell that answers for a face is told so even if its box is still beside it.
LEAST_IOU = 1e-3
# The exponent that the authors of the quality focal loss found best.
FOCUS = 2.0
# Square pixels; keeps boxes without an area from dividing by nothing.
SMALLEST_AREA = 1e-6


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """The three losses, each a scalar tensor, before the recipe weighs them."""

    score: Tensor
    box: Tensor
    landmarks: Tensor


@dataclass(frozen=True, slots=True)
class LossSums:
    """What the losses add up to over some of a step's images, before they are divided by the counts of all of them.

    Attributes:
        face_score: over cells that answer for a face, each face counting once.
        empty_score: over all other cells but the ignored.
        box, landmarks: over faces, and over labelled points.
        counts_3: cells that answer for a face, faces that have such a cell, labelled points; without a gradient.
    """

    face_score: Tensor
    empty_score: Tensor
    box: Tensor
    landmarks: Tensor
    counts_3: Tensor

    def over(self, counts_3: Tensor) -> DetectionLoss:
        """Divides by the counts of all images that the losses are to be means of."""
        cells, faces, points = counts_3.clamp(min=1)
        return DetectionLoss(
            score=self.face_score / faces + self.empty_score / cells,
            box=self.box / faces,
            landmarks=self.landmarks / points,
        )


def quality(iou_P: Tensor) -> Tensor:
    """Returns what score cells are to give whose boxes have these IoUs: the root.

    As it is, the IoU would let small faces, whose boxes are seldom exact, score below the background of large ones.
    """
    return iou_P.clamp(min=LEAST_IOU).sqrt()


def per_face_weights(face_P: Tensor, faces: int) -> Tensor:
    """Returns weights_P, 1 in sum for each face, with which each counts the same, however many cells answer for it.

    A large face has up to ten of them and a small one a single one; without weights, large faces would be most of the
    score and box losses.

    Args:
        face_P: the face that each cell answers for, an index from 0.
        faces: how many there are.
    """
    count_M = face_P.new_zeros(faces).scatter_add(0, face_P, torch.ones_like(face_P))
    return count_M[face_P].float().reciprocal()


def score_loss(logits: Tensor, target: Tensor, weights: Tensor, focus: float = FOCUS) -> Tensor:
    """Quality focal loss (Li et al. 2020, "Generalized Focal Loss"): the score is to tell how good the cell's box is.

    Args:
        target: the quality where a cell answers for a face, 0 elsewhere; of the logits' shape.
        weights: how much each cell counts; 0 for cells in ignored regions, which are told nothing.
        focus: the exponent of the miss that weighs a cell; with 0 this is plain binary cross-entropy.

    Returns:
        the sum over all cells.
    """
    logits = logits.float()
    miss = (target - logits.sigmoid()).abs().pow(focus)
    return (functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * miss * weights).sum()


def box_loss(boxes_P4: Tensor, faces_P4: Tensor, weights_P: Tensor) -> Tensor:
    """Returns the sum of generalised IoU losses (Rezatofighi et al. 2019) of pairs that count `weights_P` each."""
    return (generalised_iou_loss(boxes_P4.float(), faces_P4) * weights_P).sum()


def generalised_iou_loss(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Returns 1 minus the generalised IoU (Rezatofighi et al. 2019) of boxes one by one, x1 y1 x2 y2: 0 to 2.

    torchvision's gives the same numbers and picks out by a mask the boxes that overlap, for which a GPU is waited for
    nine times, there and back.
    """
    ax1, ay1, ax2, ay2 = a_N4.unbind(-1)
    bx1, by1, bx2, by2 = b_N4.unbind(-1)
    width = torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)
    height = torch.minimum(ay2, by2) - torch.maximum(ay1, by1)
    overlap = width.clamp(min=0) * height.clamp(min=0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - overlap
    around = (torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)) * (torch.maximum(ay2, by2) - torch.minimum(ay1, by1))
    return 1 - overlap / (union + SMALLEST_AREA) + (around - union) / (around + SMALLEST_AREA)


def landmark_loss(landmarks_P52: Tensor, labels_P52: Tensor, faces_P4: Tensor) -> Tensor:
    """Returns the sum of the smooth L1 of misses in units of the face's size, over labelled points (not NaN)."""
    labelled = labels_P52.isfinite()
    size = (faces_P4[:, 2:] - faces_P4[:, :2]).prod(-1).sqrt().clamp(min=1)[:, None, None]
    miss = torch.where(labelled, landmarks_P52.float() - labels_P52.nan_to_num(), 0) / size
    each = functional.smooth_l1_loss(miss, torch.zeros_like(miss), beta=LANDMARK_TURN, reduction="none")
    return (each * labelled).sum()


def outside_ignored(ignored_I4: Tensor, image_I: Tensor, grids: tuple[Grid, ...], batch: int) -> Tensor:
    """Returns counts_BA: False for cells whose middle lies in an ignored box.

    The boxes of a grid are drawn all at once: +1 and -1 at their corners, then summed along both axes.
    """
    parts = []
    for grid in grids:
        x1, y1, x2, y2 = (ignored_I4 / grid.stride - 0.5).ceil().long().clamp(min=0).unbind(1)
        x1, x2 = x1.clamp(max=grid.columns), x2.clamp(max=grid.columns)
        y1, y2 = y1.clamp(max=grid.rows), y2.clamp(max=grid.rows)
        marks = torch.zeros(batch, grid.rows + 1, grid.columns + 1, device=ignored_I4.device)
        for x, y, sign in ((x1, y1, 1.0), (x2, y2, 1.0), (x1, y2, -1.0), (x2, y1, -1.0)):
            marks.index_put_((image_I, y, x), torch.full_like(x, sign, dtype=marks.dtype), accumulate=True)
        covered = marks.cumsum(1).cumsum(2)[:, :-1, :-1] > 0.5
        parts.append(~covered.flatten(1))
    return torch.cat(parts, dim=1)
