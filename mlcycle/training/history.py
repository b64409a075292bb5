"""The networks that a training went through: those of its checkpoints, and what they find in an image.

They are run by torch, as in training. Only a frozen file is for use; this is for showing how a model learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mlcycle.training.data.image_input import fit_long_side, open_image, upright_rgb
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.predict import predict
from mlcycle.training.recipes.recipe import Inference
from mlcycle.training.recipes.recipe_file import load as load_recipe
from mlcycle.training.run import checkpoint
from mlcycle.training.run.run_folder import RECIPE, RunFolder


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes in an image.

    Attributes:
        boxes_N4: x1 y1 x2 y2 in pixels of the upright image, best first.
        scores_N: from 0 to 1, down to the recipe's score floor.
    """

    boxes_N4: np.ndarray
    scores_N: np.ndarray


def kept_steps(run: Path) -> list[int]:
    """Returns the steps whose weights a run has kept, in order; 0 stands for those before the first step."""
    return [0, *sorted(int(path.stem.removeprefix("step-")) for path in RunFolder(run).checkpoint_paths())]


def network_at(run: Path, step: int) -> FaceNetwork:
    """Returns the network of a run as it was after a step: the EMA weights, in evaluation mode.

    Raises:
        DataError: the checkpoint is not kept, or does not fit the recipe.
    """
    recipe = load_recipe(run / RECIPE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # as the trainer does before it draws the first weights
        network = FaceNetwork(**recipe.model.model_dump())
    if step:
        tensors, _ = checkpoint.load(RunFolder(run).checkpoint_path(step))
        checkpoint.load_weights(tensors, network, "average")
    elif recipe.start_from:
        weights = checkpoint.find_weights(recipe.start_from)
        checkpoint.start(checkpoint.load(weights)[0], network, weights)
    return network.eval()


def find(network: FaceNetwork, rule: Inference, image: Path) -> Found:
    """Returns what a network finds in an image file, however unlikely.

    Args:
        rule: of the run's recipe.

    Raises:
        DataError: the image cannot be read.
    """
    upright = upright_rgb(open_image(image))
    resized_HW3 = fit_long_side(upright, rule.long_side)
    boxes_N4, scores_N, _ = predict(network, rule, resized_HW3)
    height, width = resized_HW3.shape[:2]
    scale_4 = np.tile([upright.width / width, upright.height / height], 2)
    return Found(boxes_N4.numpy() * scale_4, scores_N.numpy())
