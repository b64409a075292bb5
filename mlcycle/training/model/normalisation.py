"""Batch normalisation with the statistics of all processes of the group, also on a CPU.

torch provides it only for GPUs (`torch.nn.SyncBatchNorm`). Without it, two processes with half a batch each would train
a different network than one process with the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


class _SumOfAll(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is summed over all processes too."""

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
    """`nn.BatchNorm2d`, with the same parameters, over the images of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        count = wide.new_tensor([wide.numel() / wide.shape[1]])
        sums = _SumOfAll.apply(torch.cat((wide.sum((0, 2, 3)), count)))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        # In two passes: the mean of squares minus the square of the mean would lose precision.
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
    """Makes all normalisations of a network use the statistics of all processes; the network stays the same object."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedNormalisation
    return network
