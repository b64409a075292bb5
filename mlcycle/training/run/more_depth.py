"""Weights of a shallower network for a deeper one: the blocks that it lacks pass on what they are given.

Source: Chen et al. 2016, "Net2Net: accelerating learning via knowledge transfer" (Net2DeeperNet). The features behind a
ReLU are not negative, so a convolution that copies each channel, and another ReLU, leave them as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# Of torch's BatchNorm2d.
EPSILON = 1e-5


def is_shallower(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Returns whether the first are weights of a FaceNetwork with fewer blocks in its stages than the second."""
    ours, others = _blocks(state), _blocks(other)
    return ours != others and ours.keys() == others.keys() and all(ours[each] <= others[each] for each in ours)


def with_depth_of(other: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights whose network has as many blocks as that of `other`, and finds what that of `state` finds.

    Args:
        other: weights of a FaceNetwork for which `is_shallower(state, other)`; only their names are used.
        state: the weights of a FaceNetwork.
    """
    made = dict(state)
    wanted = _blocks(other)
    for stage, count in _blocks(state).items():
        for block in range(count, wanted[stage]):
            before, added = f"stages.{stage}.{block - 1}", f"stages.{stage}.{block}"
            made |= _identity(made, f"{before}.normalisation", added)
    return made


def _blocks(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Returns the number of blocks of each stage, whatever depth they belong to."""
    found: dict[str, set[str]] = {}
    for name in state:
        parts = name.split(".")
        if parts[0] == "stages":
            found.setdefault(parts[1], set()).add(parts[2])
    return {stage: len(blocks) for stage, blocks in found.items()}


def _identity(state: Mapping[str, Tensor], before: str, added: str) -> dict[str, Tensor]:
    """Returns the weights of a block that passes on the features behind the normalisation `before` and its ReLU.

    Its normalisation undoes itself, also with a batch's own statistics as far as these are those that it assumes: of
    normally distributed values whose negative part was set to 0.
    """
    shift_C, scale_C = state[f"{before}.bias"].float(), state[f"{before}.weight"].float().abs().clamp(min=1e-6)
    ratio_C = shift_C / scale_C
    above_C = torch.special.ndtr(ratio_C)
    density_C = torch.exp(-(ratio_C**2) / 2) / math.sqrt(2 * math.pi)
    mean_C = shift_C * above_C + scale_C * density_C
    variance_C = (shift_C**2 + scale_C**2) * above_C + shift_C * scale_C * density_C - mean_C**2
    variance_C = variance_C.clamp(min=EPSILON)
    channels = len(shift_C)
    kernel = torch.zeros(channels, channels, 3, 3)
    torch.nn.init.dirac_(kernel)
    return {
        f"{added}.convolution.weight": kernel,
        f"{added}.normalisation.weight": torch.sqrt(variance_C + EPSILON),
        f"{added}.normalisation.bias": mean_C,
        f"{added}.normalisation.running_mean": mean_C,
        f"{added}.normalisation.running_var": variance_C,
        f"{added}.normalisation.num_batches_tracked": torch.zeros((), dtype=torch.long),
    }
