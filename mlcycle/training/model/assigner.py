"""Assigns cells to faces by SimOTA (Ge et al. 2021, "YOLOX").

The cost of a cell combines its score loss and its IoU loss. Each face takes its cheapest cells, more of them if its
boxes fit well. Costs are computed only for the cells near each face, so that time grows with the number of faces and
not with the size of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.model.grid import Grid

# Candidate cells on each side of the one that holds a face's centre: 5 x 5 on every grid.
REACH = 2
BOX_COST = 3.0
OUTSIDE_COST = 1e4
CANDIDATES_FOR_COUNT = 10
SMALLEST_IOU = 1e-7


@dataclass(frozen=True, slots=True)
class Assignment:
    """P pairs of a cell and the face assigned to it.

    Attributes:
        image_P, cell_P: the cell: its image's index in the batch, and its index among the image's cells.
        face_P: the face's index among the batch's faces.
        iou_P: the IoU of the cell's predicted box and the face, 0 to 1.
    """

    image_P: Tensor
    cell_P: Tensor
    face_P: Tensor
    iou_P: Tensor


@torch.no_grad()
def assign(
    logits_BA: Tensor, boxes_BA4: Tensor, grids: tuple[Grid, ...], faces_M4: Tensor, image_M: Tensor
) -> Assignment:
    """Assigns cells to faces.

    Args:
        logits_BA, boxes_BA4: the network's outputs.
        faces_M4: the faces of all images of the batch, x1 y1 x2 y2 in input pixels.
        image_M: each face's image, an index in the batch.
    """
    cells_MK, centres_MK2, inside_MK = _cells_around(faces_M4, grids)
    image_MK = image_M.unsqueeze(1).expand_as(cells_MK)
    iou_MK = pairwise_iou(boxes_BA4[image_MK, cells_MK].float(), faces_M4.unsqueeze(1)) * inside_MK
    covers_MK = (centres_MK2 > faces_M4[:, None, :2]).all(-1) & (centres_MK2 < faces_M4[:, None, 2:]).all(-1)
    cost_MK = functional.softplus(-logits_BA[image_MK, cells_MK].float())
    cost_MK = cost_MK - BOX_COST * iou_MK.clamp(min=SMALLEST_IOU).log()
    cost_MK = cost_MK + OUTSIDE_COST * ~covers_MK
    cost_MK = cost_MK.masked_fill(~inside_MK, torch.inf)
    taken_MK = _cheapest(cost_MK, iou_MK) & inside_MK
    taken_MK &= _wins_its_cell(cost_MK, taken_MK, image_MK * boxes_BA4.shape[1] + cells_MK, logits_BA.numel())
    face_P, column_P = taken_MK.nonzero(as_tuple=True)
    return Assignment(image_M[face_P], cells_MK[face_P, column_P], face_P, iou_MK[face_P, column_P])


def _cells_around(faces_M4: Tensor, grids: tuple[Grid, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns cells_MK, their centres_MK2 in input pixels, and which of them lie inside the image."""
    centre_M2 = (faces_M4[:, :2] + faces_M4[:, 2:]) / 2
    steps = torch.arange(-REACH, REACH + 1, device=faces_M4.device)
    shift_W2 = torch.cartesian_prod(steps, steps)
    cells, centres, inside = [], [], []
    for grid in grids:
        place = (centre_M2 / grid.stride).floor().long().unsqueeze(1) + shift_W2
        x, y = place.unbind(-1)
        inside.append((x >= 0) & (x < grid.columns) & (y >= 0) & (y < grid.rows))
        cells.append(grid.start + y.clamp(0, grid.rows - 1) * grid.columns + x.clamp(0, grid.columns - 1))
        centres.append((place + 0.5) * grid.stride)
    return torch.cat(cells, 1), torch.cat(centres, 1), torch.cat(inside, 1)


def _cheapest(cost_MK: Tensor, iou_MK: Tensor) -> Tensor:
    """Marks each face's k cheapest cells; k is the sum of its best IoUs, at least 1 ("dynamic k" in YOLOX)."""
    best = iou_MK.topk(min(CANDIDATES_FOR_COUNT, iou_MK.shape[1]), dim=1).values
    count_M1 = best.sum(1, keepdim=True).long().clamp(min=1)
    rank_MK = cost_MK.argsort(dim=1, stable=True).argsort(dim=1)
    return rank_MK < count_M1


def _wins_its_cell(cost_MK: Tensor, taken_MK: Tensor, key_MK: Tensor, cells: int) -> Tensor:
    """Resolves cells taken by several faces: the face with the lowest cost keeps the cell, the first of equal ones."""
    key = key_MK.flatten()
    wanted = cost_MK.where(taken_MK, torch.inf).flatten()
    least = cost_MK.new_full((cells,), torch.inf).scatter_reduce(0, key, wanted, reduce="amin")
    cheapest_MK = taken_MK & (cost_MK == least[key_MK])
    # Face indices as floats: in many versions of torch, MPS has no amin for integers.
    face_MK = torch.arange(len(cost_MK), device=cost_MK.device, dtype=cost_MK.dtype).unsqueeze(1).expand_as(key_MK)
    wanting = face_MK.where(cheapest_MK, len(cost_MK)).flatten()
    first = face_MK.new_full((cells,), len(cost_MK)).scatter_reduce(0, key, wanting, reduce="amin")
    return cheapest_MK & (face_MK == first[key_MK])


def pairwise_iou(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Returns the elementwise IoU of boxes (shapes broadcast), x1 y1 x2 y2."""
    overlap = (torch.minimum(a_N4[..., 2:], b_N4[..., 2:]) - torch.maximum(a_N4[..., :2], b_N4[..., :2])).clamp(min=0)
    intersection = overlap.prod(-1)
    area = (a_N4[..., 2:] - a_N4[..., :2]).prod(-1) + (b_N4[..., 2:] - b_N4[..., :2]).prod(-1)
    return intersection / (area - intersection).clamp(min=SMALLEST_IOU)
