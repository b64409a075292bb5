"""The optimizer, the learning-rate schedule, and the EMA of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from mlcycle.training.model.muon import Muon
from mlcycle.training.recipes.recipe import Schedule

LAST_SHARE = 0.01


def make_optimizer(model: nn.Module, rule: Schedule) -> torch.optim.Optimizer:
    """Returns the recipe's optimizer; weight decay applies to convolutions, not to biases and normalisations."""
    if rule.optimizer == "muon":
        return Muon(model, rule.learning_rate, rule.weight_decay)
    weights = [each for each in model.parameters() if each.dim() > 1]
    others = [each for each in model.parameters() if each.dim() <= 1]
    groups = [{"params": weights, "weight_decay": rule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rule.learning_rate, fused=True)


def learning_rate(step: int, rule: Schedule) -> float:
    """Returns the learning rate of a step (from 0): linear warmup, then cosine decay to a hundredth."""
    if step < rule.warmup_steps:
        return rule.learning_rate * (step + 1) / rule.warmup_steps
    done = (step - rule.warmup_steps) / max(1, rule.steps - rule.warmup_steps)
    return rule.learning_rate * (LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Updates the EMA; its decay starts low, while there is little to average, and grows to `decay`."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    pairs = list(zip(ema.state_dict().values(), model.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([kept for kept, _ in floats], [new for _, new in floats], weight)
    for kept, new in pairs:
        if not kept.is_floating_point():
            kept.copy_(new)
