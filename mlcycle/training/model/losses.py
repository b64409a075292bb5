"""The detection losses: one each for scores, boxes and landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.model.grid import Grid

# The error, relative to the face's size, at which the landmark loss changes from quadratic to linear.
LANDMARK_BETA = 0.05
# The target of a cell assigned to a face is above 0 even if its box does not overlap the face yet.
LEAST_IOU = 1e-3
# The exponent that the authors of the quality focal loss found best.
FOCUS = 2.0
# Square pixels; avoids a division by zero for boxes without area.
SMALLEST_AREA = 1e-6


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """The three losses, each a scalar tensor, before the recipe weights them."""

    score: Tensor
    box: Tensor
    landmarks: Tensor


@dataclass(frozen=True, slots=True)
class LossSums:
    """Sums of the losses over some of a step's images, before they are divided by the counts of the whole step.

    Attributes:
        face_score: over cells assigned to a face, each face counting once.
        empty_score: over all other cells except ignored ones.
        box, landmarks: over faces, and over labelled points.
        counts_3: cells assigned to a face, faces that have such a cell, labelled points; without a gradient.
    """

    face_score: Tensor
    empty_score: Tensor
    box: Tensor
    landmarks: Tensor
    counts_3: Tensor

    def over(self, counts_3: Tensor) -> DetectionLoss:
        """Returns the losses as means over `counts_3`, the counts of all images of the step."""
        cells, faces, points = counts_3.clamp(min=1)
        return DetectionLoss(
            score=self.face_score / faces + self.empty_score / cells,
            box=self.box / faces,
            landmarks=self.landmarks / points,
        )


def quality(iou_P: Tensor) -> Tensor:
    """Returns the target score of cells whose boxes have these IoUs: the square root.

    With the IoU itself, small faces, whose boxes are seldom exact, would score below the background of large ones.
    """
    return iou_P.clamp(min=LEAST_IOU).sqrt()


def per_face_weights(face_P: Tensor, faces: int) -> Tensor:
    """Returns weights_P that sum to 1 for each face, so that every face counts the same.

    A large face has up to ten cells and a small one a single cell; without weights, large faces would dominate the
    score and box losses.

    Args:
        face_P: the face assigned to each cell, an index from 0.
        faces: the number of faces.
    """
    count_M = face_P.new_zeros(faces).scatter_add(0, face_P, torch.ones_like(face_P))
    return count_M[face_P].float().reciprocal()


def score_loss(logits: Tensor, target: Tensor, weights: Tensor, focus: float = FOCUS) -> Tensor:
    """Quality focal loss (Li et al. 2020, "Generalized Focal Loss"): the target score is the quality of the cell's box.

    Args:
        target: the quality for cells assigned to a face, 0 elsewhere; of the logits' shape.
        weights: of each cell; 0 for cells in ignored regions.
        focus: the exponent of the focal weight |target - score|; 0 gives plain binary cross-entropy.

    Returns:
        the sum over all cells.
    """
    logits = logits.float()
    focal = (target - logits.sigmoid()).abs().pow(focus)
    return (functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * focal * weights).sum()


def box_loss(boxes_P4: Tensor, faces_P4: Tensor, weights_P: Tensor) -> Tensor:
    """Returns the weighted sum of the generalised IoU losses (Rezatofighi et al. 2019) of pairs of boxes."""
    return (generalised_iou_loss(boxes_P4.float(), faces_P4) * weights_P).sum()


def generalised_iou_loss(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Returns 1 - the elementwise generalised IoU (Rezatofighi et al. 2019) of boxes, x1 y1 x2 y2: 0 to 2.

    torchvision's function gives the same numbers, but selects overlapping boxes by masks, which synchronises with a GPU
    nine times forward and backward.
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
    """Returns the sum of smooth L1 losses over labelled points (not NaN), in units of the face's size."""
    labelled = labels_P52.isfinite()
    size = (faces_P4[:, 2:] - faces_P4[:, :2]).prod(-1).sqrt().clamp(min=1)[:, None, None]
    miss = torch.where(labelled, landmarks_P52.float() - labels_P52.nan_to_num(), 0) / size
    each = functional.smooth_l1_loss(miss, torch.zeros_like(miss), beta=LANDMARK_BETA, reduction="none")
    return (each * labelled).sum()


def outside_ignored(ignored_I4: Tensor, image_I: Tensor, grids: tuple[Grid, ...], batch: int) -> Tensor:
    """Returns counts_BA: False for cells whose centre lies in an ignored box.

    All boxes of a grid are drawn at once: +1 and -1 at their corners, then cumulative sums along both axes.
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
