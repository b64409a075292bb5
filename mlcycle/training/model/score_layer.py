"""Refits a trained network's score layer: a logistic regression on the features that inference computes.

Training fits the score on crops, with the batch's statistics and a loss that down-weights easy cells. Inference sees
whole images, with a hundred times as much background, and uses the running statistics. The layer has one weight per
feature; with everything else fixed, its best values are found in minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.score_boxes import Boxes

# The loss is convex and the layer small; L-BFGS needs a few dozen evaluations.
MOST_ITERATIONS = 200
LEAST_SPREAD = 1e-6
ROUNDS = 2


def fit_in_rounds(network: FaceNetwork, find: Callable[[], Sequence[Boxes]]) -> tuple[float, float] | None:
    """Fits the score layer to what the network finds, and again to that and to what it finds then.

    A fitted layer can give high scores to boxes that were no candidates before. More rounds gain nothing.

    Args:
        find: predicts with the network as it is, and returns the boxes of all images; nothing if it was stopped.

    Returns:
        the mean loss before the first fit, on the boxes of the first round, and after the last, on those of all rounds;
        None if stopped.
    """
    parts: list[Boxes] = []
    losses: list[float] = []
    for _ in range(ROUNDS):
        found = find()
        if not found:
            return None
        parts += found
        losses += fit_score_layer(network, parts)
    return losses[0], losses[-1]


def fit_score_layer(network: FaceNetwork, parts: Sequence[Boxes]) -> tuple[float, float]:
    """Sets the network's score layer to the weights that minimise the mean binary cross-entropy.

    Args:
        network: the one that computed the features; only the weights and bias of its score change.
        parts: the boxes of all images.

    Returns:
        the mean loss before and after.
    """
    features_NC = torch.cat([each.features_NC for each in parts])
    target_N, weight_N = (torch.cat([getattr(each, name) for each in parts]) for name in ("target_N", "weight_N"))
    weight_N = weight_N / weight_N.sum()
    mean_C = features_NC.mean(0)
    spread_C = features_NC.std(0).clamp(min=LEAST_SPREAD)
    features_NC = (features_NC - mean_C) / spread_C
    answer = network.answer
    assert answer.bias is not None
    weight_C, bias = answer.weight.detach()[0].flatten().cpu(), answer.bias.detach()[0].cpu()
    start = torch.cat((weight_C * spread_C, (bias + weight_C @ mean_C).view(1)))
    before, layer, after = _minimise(start, features_NC, target_N, weight_N)
    weight_C = layer[:-1] / spread_C
    with torch.no_grad():
        answer.weight[0] = weight_C.view_as(answer.weight[0])
        answer.bias[0] = layer[-1] - weight_C @ mean_C
    return before, after


def _minimise(start: Tensor, features_NC: Tensor, target_N: Tensor, weight_N: Tensor) -> tuple[float, Tensor, float]:
    """Returns the initial loss, the layer (weights, then the bias) that minimises the loss, and that minimum."""
    layer = start.clone().requires_grad_()
    losses: list[float] = []

    def loss() -> Tensor:
        layer.grad = None
        logits_N = features_NC @ layer[:-1] + layer[-1]
        value = binary_cross_entropy_with_logits(logits_N, target_N, weight_N, reduction="sum")
        value.backward()
        losses.append(value.item())
        return value

    torch.optim.LBFGS([layer], max_iter=MOST_ITERATIONS, line_search_fn="strong_wolfe").step(loss)
    return losses[0], layer.detach(), loss().item()
