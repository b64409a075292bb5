"""The selection of final boxes in torch, with which that of the frozen graph is compared."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms


def select(
    logits_A: Tensor, boxes_A4: Tensor, landmarks_AP2: Tensor, *, size: tuple[int, int], rule: tuple[float, float, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Selects the final boxes of one image by greedy non-maximum suppression.

    Args:
        size: width and height of the image in input pixels, without padding; boxes are clipped to it.
        rule: the score floor, the IoU above which the lower-scored of two boxes is removed, and the most boxes to keep.

    Returns:
        boxes_N4, scores_N, landmarks_NP2, best first.
    """
    score_floor, iou_threshold, max_faces = rule
    scores = logits_A.sigmoid()
    candidates = torch.nonzero(scores >= score_floor).squeeze(1)
    kept = candidates[nms(boxes_A4[candidates], scores[candidates], iou_threshold)][:max_faces]
    limit = torch.tensor((*size, *size), device=boxes_A4.device, dtype=boxes_A4.dtype)
    return boxes_A4[kept].clamp(min=0).minimum(limit), scores[kept], landmarks_AP2[kept]
