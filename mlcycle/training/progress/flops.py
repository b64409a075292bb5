"""How much arithmetic a training step is: what a rate in FLOP/s is counted by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


@torch.no_grad()
def per_image(network: nn.Module, side: int) -> int:
    """Counts an image's floating-point operations in a step: those of the convolutions, forward and backward.

    A multiplication and an addition are two. Backward is as much again for the weights and once more for the values
    before them, which nobody asks the first convolution for. It is what torch.utils.flop_counter counts, without the
    800 modules that it imports. Normalisations, losses, the optimizer and all that a device does beside the network are
    left out, so the rate tells how much of it the network gets.

    Args:
        network: in evaluation mode, for it looks at an empty image.
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
    """Returns a rate in words: 12.3 GFLOP/s."""
    size, prefix = next((pair for pair in PREFIXES if operations_per_second >= pair[0]), PREFIXES[-1])
    return f"{operations_per_second / size:.3g} {prefix}FLOP/s"
