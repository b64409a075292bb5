"""Which cells answer for which face: every face looks at the cells around its middle and takes the cheapest.

The rule is SimOTA's (Ge et al. 2021, "YOLOX"): the cost of a cell is how badly it scores and how badly its box fits,
and a face that is easy to fit takes more cells than one that is not. It is computed here for the few cells near each
face instead of for all of them, so that its cost grows with the faces and not with the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.model.grid import Grid

# Cells considered on each side of the one that holds a face's middle: 5 x 5 on every grid.
REACH = 2
BOX_COST = 3.0
OUTSIDE_COST = 1e4
CANDIDATES_FOR_COUNT = 10
SMALLEST_IOU = 1e-7


@dataclass(frozen=True, slots=True)
class Assignment:
    """P pairs of a cell and the face that it answers for.

    Attributes:
        image_P, cell_P: where the cell is: index within the batch and among the image's cells.
        face_P: index of the face among the batch's faces.
        iou_P: how well the cell's box fits the face now, 0 to 1.
    """

    image_P: Tensor
    cell_P: Tensor
    face_P: Tensor
    iou_P: Tensor


@torch.no_grad()
def assign(
    logits_BA: Tensor, boxes_BA4: Tensor, grids: tuple[Grid, ...], faces_M4: Tensor, image_M: Tensor
) -> Assignment:
    """Pairs cells with faces.

    Args:
        logits_BA, boxes_BA4: the network's answers.
        faces_M4: the faces of all images of the batch, x1 y1 x2 y2 in input pixels.
        image_M: the image that each face is in.
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
    """Returns cells_MK, their middles_MK2 in input pixels, and which of them lie inside the image."""
    middle_M2 = (faces_M4[:, :2] + faces_M4[:, 2:]) / 2
    steps = torch.arange(-REACH, REACH + 1, device=faces_M4.device)
    shift_W2 = torch.cartesian_prod(steps, steps)
    cells, centres, inside = [], [], []
    for grid in grids:
        place = (middle_M2 / grid.stride).floor().long().unsqueeze(1) + shift_W2
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
    """A cell that several faces want answers for the one to which it is cheapest; the first of several as cheap."""
    key = key_MK.flatten()
    wanted = cost_MK.where(taken_MK, torch.inf).flatten()
    least = cost_MK.new_full((cells,), torch.inf).scatter_reduce(0, key, wanted, reduce="amin")
    cheapest_MK = taken_MK & (cost_MK == least[key_MK])
    # Faces as floats: for whole numbers, Apple's GPUs have no least in many versions of torch.
    face_MK = torch.arange(len(cost_MK), device=cost_MK.device, dtype=cost_MK.dtype).unsqueeze(1).expand_as(key_MK)
    wanting = face_MK.where(cheapest_MK, len(cost_MK)).flatten()
    first = face_MK.new_full((cells,), len(cost_MK)).scatter_reduce(0, key, wanting, reduce="amin")
    return cheapest_MK & (face_MK == first[key_MK])


def pairwise_iou(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Returns the intersection over union of boxes one by one (shapes broadcast), x1 y1 x2 y2."""
    overlap = (torch.minimum(a_N4[..., 2:], b_N4[..., 2:]) - torch.maximum(a_N4[..., :2], b_N4[..., :2])).clamp(min=0)
    intersection = overlap.prod(-1)
    area = (a_N4[..., 2:] - a_N4[..., :2]).prod(-1) + (b_N4[..., 2:] - b_N4[..., :2]).prod(-1)
    return intersection / (area - intersection).clamp(min=SMALLEST_IOU)
