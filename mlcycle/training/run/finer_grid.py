"""Weights of a network whose finest grid has stride 8, for one whose finest grid has stride 4.

A first layer of stride 2 on an image that is enlarged twice sees each pixel as 2 x 2 equal ones. So it equals a layer
of stride 1 on the image itself, with the taps merged that see the same pixel. All other layers are the same at twice
the resolution, and each grid takes over the part of the next coarser one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

STEM = "stem.convolution.weight"
# The numbers of grids of the two: of strides 8 to 128, and 4 to 128.
COARSE_GRIDS, FINE_GRIDS = 5, 6


def is_coarser(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Returns whether the first are weights of a FaceNetwork of stride 8, and the second those of one of stride 4."""
    return (_grids(state), _grids(other)) == (COARSE_GRIDS, FINE_GRIDS)


def _grids(state: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[3] for name in state if name.startswith("head.0.normalisations.")})


def for_finer_grid(state_8: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights of stride 4, whose network finds in an image what that of `state_8` finds in it enlarged twice.

    The sixth grid, for which stride 8 has none, starts as a copy of the fifth.

    Args:
        state_8: the weights of a FaceNetwork of stride 8.
    """
    made = dict(state_8)
    made[STEM] = _merged(state_8[STEM])
    last = COARSE_GRIDS - 1
    coarsest = max(int(name.split(".")[1]) for name in state_8 if name.startswith("coarser."))
    for name, value in state_8.items():
        parts = name.split(".")
        if parts[0] == "head" and parts[2] == "normalisations" and parts[3] == str(last):
            made[".".join((*parts[:3], str(last + 1), *parts[4:]))] = value.clone()
        elif parts[0] == "coarser" and parts[1] == str(coarsest):
            made[".".join(("coarser", str(coarsest + 1), *parts[2:]))] = value.clone()
    return made


def _merged(kernel_OI33: Tensor) -> Tensor:
    """Of the three taps on an enlarged image, the first sees the pixel before, and the other two the same pixel."""
    for dimension in (2, 3):
        before, here, after = kernel_OI33.unbind(dimension)
        kernel_OI33 = torch.stack((before, here + after, torch.zeros_like(here)), dimension)
    return kernel_OI33
