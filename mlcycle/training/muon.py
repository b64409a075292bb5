"""Muon: steps whose directions are all equally long, for the network's inner convolutions; AdamW for all else.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". A kernel is taken for the
matrix of its outputs by its inputs and places; its momentum is replaced by the nearest matrix whose singular values
are all one, which a Newton-Schulz iteration approaches with products of matrices alone.
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
# The coefficients of the iteration, as published: they lift small singular values fast and let all end near one.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 4
# How much faster matrices learn than the rate says, which is AdamW's.
MATRIX_RATE = 20.0
# Weight decay pulls on matrices with this share of the rate that moves them.
MATRIX_DECAY = 0.1


class Muon(torch.optim.Optimizer):
    """An optimizer with two rules in one.

    Args:
        model: its convolutions of more than one pixel, but for those that read the picture itself, go by Muon.
        rate: of learning, for AdamW; what `lr` of each group is set to.
        weight_decay: pulls on weights, not on biases and normalisations.
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
        """Moves the parameters by their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["is_matrix"]:
                for parameter in group["params"]:
                    self._turn(parameter, group)
            else:
                self._adapt(group)
        return loss

    def _turn(self, parameter: Tensor, group: dict[str, Any]) -> None:
        if parameter.grad is None:
            return
        gradient = parameter.grad
        if not self.state[parameter]:
            self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momentum = self.state[parameter]["momentum"]
        momentum.mul_(MOMENTUM).add_(gradient)
        ahead = (gradient + MOMENTUM * momentum).flatten(1)
        rate = group["lr"] * MATRIX_RATE
        tall = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        parameter.mul_(1 - rate * group["weight_decay"] * MATRIX_DECAY)
        parameter.add_(orthogonal(ahead).view(parameter.shape), alpha=-rate * tall)

    def _adapt(self, group: dict[str, Any]) -> None:
        """AdamW (Loshchilov and Hutter 2019), all parameters of a group at once."""
        parameters = [each for each in group["params"] if each.grad is not None]
        for each in parameters:
            if not self.state[each]:
                self.state[each].update(
                    step=torch.tensor(0.0), exp_avg=torch.zeros_like(each), exp_avg_sq=torch.zeros_like(each)
                )
        states = [self.state[each] for each in parameters]
        adamw(
            parameters, [each.grad for each in parameters if each.grad is not None],
            [each["exp_avg"] for each in states], [each["exp_avg_sq"] for each in states], [],
            [each["step"] for each in states], foreach=True, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1],
            lr=group["lr"], weight_decay=group["weight_decay"], eps=EPSILON, maximize=False,
        )  # fmt: skip


def is_inner(parameter: Tensor) -> bool:
    """Tells whether a parameter is a convolution of more than one pixel that does not read the picture itself."""
    return parameter.dim() == 4 and parameter.shape[2] > 1 and parameter.shape[1] > 3


def orthogonal(matrix_RC: Tensor) -> Tensor:
    """Returns about the nearest matrix whose singular values are all one (they end between 0.7 and 1.2)."""
    a, b, c = COEFFICIENTS
    is_tall = matrix_RC.shape[0] > matrix_RC.shape[1]
    x = (matrix_RC.T if is_tall else matrix_RC).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if is_tall else x).to(matrix_RC.dtype)
