"""A synthetic batch, for probing the memory and time that a step takes."""

from __future__ import annotations

import torch

from mlcycle.training.data.samples import Batch
from mlcycle.training.recipes.recipe import PHOTOMETRIC


def synthetic_batch(count: int, side: int, faces: int) -> Batch:
    """Returns `count` images of noise of `side` pixels, with `faces` faces of many sizes each; deterministic."""
    random = torch.Generator().manual_seed(0)
    corners = torch.rand((faces * count, 2), generator=random) * side * 0.7
    boxes = torch.cat((corners, corners + 10 + torch.rand((faces * count, 2), generator=random) * side * 0.25), dim=1)
    return Batch(
        pixels_BSS3=torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=random),
        photometric_BL=torch.rand((count, len(PHOTOMETRIC)), generator=random),
        faces_M4=boxes,
        landmarks_M52=boxes[:, None, :2] + torch.rand((faces * count, 5, 2), generator=random) * 20,
        image_M=torch.arange(count).repeat_interleave(faces),
        ignored_I4=torch.zeros((0, 4)),
        ignored_image_I=torch.zeros(0, dtype=torch.long),
        names=("noise",) * count,
    )
