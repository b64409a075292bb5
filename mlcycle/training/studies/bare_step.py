"""The bare step: forward pass, losses and backward pass alone, as a yardstick for a whole training step."""

from __future__ import annotations

import torch

from mlcycle.training.data.synthetic_batch import synthetic_batch
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.trainer import losses_of

FACES = 5


class BareStep:
    """A recipe's network with its forward pass, losses and backward pass, on one constant batch.

    Args:
        count: images of the batch, with five faces each.
    """

    def __init__(self, recipe: Recipe, device: torch.device, count: int) -> None:
        self.rule, self.device = recipe.model, device
        self.is_half = recipe.schedule.precision == "bfloat16"
        network = FaceNetwork(**recipe.model.model_dump()).to(device)
        self.network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.batch = synthetic_batch(count, recipe.augment.crop, FACES).to(device)
        images = self.batch.pixels_BSS3.permute(0, 3, 1, 2)
        self.images = images.to(torch.bfloat16 if self.is_half else torch.float32)

    def step(self) -> None:
        """Runs one step without changing the weights."""
        self.network.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_half):
            outputs = self.network(self.images)
        sums = losses_of(outputs, self.batch, self.rule)
        parts = sums.over(sums.counts_3)
        (parts.score + parts.box + parts.landmarks).backward()
