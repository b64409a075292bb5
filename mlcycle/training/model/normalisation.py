"""Batch normalisation whose statistics are those of all processes that train together, also on a CPU.

torch brings it for GPUs alone (`torch.nn.SyncBatchNorm`). Without it, two processes of a half batch each would train
another network than one process of the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


class _SumOfAll(torch.autograd.Function):
    """The sum of a tensor over all processes; what its gradient is, is summed in turn."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        distributed.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return gradient


class SynchronisedNormalisation(nn.BatchNorm2d):
    """`nn.BatchNorm2d` (its names, its numbers) over the images of all processes, which may have several each."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        count = wide.new_tensor([wide.numel() / wide.shape[1]])
        sums = _SumOfAll.apply(torch.cat((wide.sum((0, 2, 3)), count)))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        # In two passes, for the mean of squares less the square of the mean would lose its digits.
        centred = wide - mean.view(1, -1, 1, 1)
        variance = _SumOfAll.apply(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def synchronise(network: nn.Module, device: torch.device) -> nn.Module:
    """Lets all normalisations of a network, which stays the same object, take the statistics of all processes."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedNormalisation
    return network
