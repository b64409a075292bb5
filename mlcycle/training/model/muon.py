"""Muon for the network's inner convolutions, AdamW for all other parameters.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". A kernel is treated as a matrix
of outputs by inputs and kernel positions. Its momentum is replaced by the nearest semi-orthogonal matrix (all singular
values one), which a Newton-Schulz iteration approximates with matrix products only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

MOMENTUM = 0.95
BETAS = (0.9, 0.999)
EPSILON = 1e-8
# The published coefficients of the iteration: small singular values grow fast, and all end near one.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 4
# Muon's learning rate relative to AdamW's, which is the recipe's.
MATRIX_RATE = 20.0
# The weight decay of matrices relative to their learning rate.
MATRIX_DECAY = 0.1


class Muon(torch.optim.Optimizer):
    """Muon and AdamW in one optimizer.

    Args:
        model: Muon updates its convolutions larger than 1x1, except the first, which reads the image.
        rate: the learning rate of AdamW; `lr` of each parameter group.
        weight_decay: of weights, not of biases and normalisations.
    """

    def __init__(self, model: nn.Module, rate: float, weight_decay: float) -> None:
        inner = [each for each in model.parameters() if is_inner(each)]
        weights = [each for each in model.parameters() if each.dim() > 1 and not is_inner(each)]
        others = [each for each in model.parameters() if each.dim() <= 1]
        groups = [
            {"params": inner, "weight_decay": weight_decay, "is_matrix": True},
            {"params": weights, "weight_decay": weight_decay, "is_matrix": False},
            {"params": others, "weight_decay": 0.0, "is_matrix": False},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates the parameters by their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [each for each in group["params"] if each.grad is not None]
            gradients = [each.grad for each in parameters]
            if parameters and group["is_matrix"]:
                self._muon_step(parameters, gradients, group)
            elif parameters:
                self._adamw_step(parameters, gradients, group)
        return loss

    def _muon_step(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Muon, for all parameters of a shape at once, because calls for single small matrices have a high overhead."""
        for each in parameters:
            if not self.state[each]:
                self.state[each]["momentum"] = torch.zeros_like(each)
        momenta = [self.state[each]["momentum"] for each in parameters]
        torch._foreach_mul_(momenta, MOMENTUM)
        torch._foreach_add_(momenta, gradients)
        ahead = torch._foreach_add(gradients, momenta, alpha=MOMENTUM)
        rate = group["lr"] * MATRIX_RATE
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"] * MATRIX_DECAY)
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for pair in zip(parameters, ahead, strict=True):
            alike.setdefault(pair[0].shape, []).append(pair)
        for shape, pairs in alike.items():
            # In the memory order of channels-last kernels; the order of columns makes no difference.
            rows = torch.stack([each.permute(0, 2, 3, 1).flatten(1) for _, each in pairs])
            tall = max(1.0, rows.shape[1] / rows.shape[2]) ** 0.5
            outputs, inputs, *places = shape
            directions = orthogonal(rows).view(-1, outputs, *places, inputs).permute(0, 1, 4, 2, 3)
            torch._foreach_add_([each for each, _ in pairs], [*directions], alpha=-rate * tall)

    def _adamw_step(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """AdamW (Loshchilov and Hutter 2019), for all parameters of a group at once."""
        for each in parameters:
            if not self.state[each]:
                step = torch.zeros((), device=each.device)
                self.state[each].update(step=step, exp_avg=torch.zeros_like(each), exp_avg_sq=torch.zeros_like(each))
        states = [self.state[each] for each in parameters]
        adamw(
            parameters, gradients, [each["exp_avg"] for each in states], [each["exp_avg_sq"] for each in states], [],
            [each["step"] for each in states], fused=True, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1],
            lr=group["lr"], weight_decay=group["weight_decay"], eps=EPSILON, maximize=False,
        )  # fmt: skip


def is_inner(parameter: Tensor) -> bool:
    """Returns whether a parameter is the kernel of a convolution larger than 1x1 that does not read the image."""
    return parameter.dim() == 4 and parameter.shape[2] > 1 and parameter.shape[1] > 3


def orthogonal(matrices_NRC: Tensor) -> Tensor:
    """Returns approximately the nearest semi-orthogonal matrices (singular values between 0.7 and 1.2)."""
    a, b, c = COEFFICIENTS
    is_tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x = (matrices_NRC.mT if is_tall else matrices_NRC).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices_NRC.dtype)
