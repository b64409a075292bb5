"""Counts the floating-point operations of a training step, for rates in FLOP/s."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


@torch.no_grad()
def per_image(network: nn.Module, side: int) -> int:
    """Returns the floating-point operations of one image in a step: those of the convolutions, forward and backward.

    A multiplication and an addition count as two. The backward pass costs as much again for the weights, and once more
    for the inputs, which the first convolution does not need. torch.utils.flop_counter gives the same numbers, but
    imports 800 modules. Normalisations, losses and the optimizer are not counted, so the rate shows how much of the
    device's throughput the network uses.

    Args:
        network: in evaluation mode; it is run on an empty image.
        side: of the image in pixels.
    """
    counts: list[int] = []

    def count(convolution: nn.Conv2d, inputs: Any, output: Tensor) -> None:
        counts.append(2 * output.numel() * convolution.weight[0].numel())

    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    hooks = [each.register_forward_hook(count) for each in convolutions]
    try:
        network(torch.zeros((1, 3, side, side), device=convolutions[0].weight.device))
    finally:
        for hook in hooks:
            hook.remove()
    return 3 * sum(counts) - counts[0]


def format_rate(operations_per_second: float) -> str:
    """Returns a rate as text: 12.3 GFLOP/s."""
    size, prefix = next((pair for pair in PREFIXES if operations_per_second >= pair[0]), PREFIXES[-1])
    return f"{operations_per_second / size:.3g} {prefix}FLOP/s"
