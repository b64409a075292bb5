"""The training pipeline over image files, stage by stage: `python -m mlcycle.training.trace RUN LIST FOLDER`.

For each image of LIST (paths separated by NUL) it writes FOLDER/00000.npz … with the results of decoding, turning
upright, resizing, running the network and selecting boxes. `mlcycle freeze` compares them with those of the inference
pipeline.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import torch

from mlcycle.errors import MlcycleError
from mlcycle.training.data.image_input import fit_long_side, open_image, stored_rgb, upright_rgb
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.predict import predict_cells
from mlcycle.training.model.selection import select
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.recipes.recipe_file import load as load_recipe
from mlcycle.training.run import checkpoint
from mlcycle.training.run.run_folder import BEST, RECIPE, RunFolder


def load_trained(run: Path) -> tuple[Recipe, FaceNetwork, checkpoint.Progress]:
    """Returns a run's recipe, its best network (the EMA weights, in evaluation mode) and its progress.

    Raises:
        InputError, DataError: not a run folder, or it has no checkpoint yet.
    """
    folder = RunFolder(run)
    folder.must_exist()
    recipe = load_recipe(run / RECIPE)
    tensors, progress = checkpoint.load(folder.checkpoints / BEST)
    network = FaceNetwork(**recipe.model.model_dump())
    checkpoint.load_weights(tensors, network, "average")
    return recipe, network.eval(), progress


def trace(network: FaceNetwork, recipe: Recipe, image: Path) -> dict[str, np.ndarray]:
    """Returns the results after each stage, under the names that mlcycle.workflows.parity compares."""
    rule = recipe.inference
    try:
        stored = np.asarray(stored_rgb(open_image(image)))
        upright = upright_rgb(open_image(image))
    except MlcycleError as problem:
        return {"error": np.array(str(problem))}
    resized = fit_long_side(upright, rule.long_side)
    height, width = resized.shape[:2]
    cells, size = predict_cells(network, resized), (width, height)
    boxes, scores, landmarks = select(*cells, size=size, rule=(rule.score_floor, rule.iou_threshold, rule.max_faces))
    # No IoU is above 1, so nothing is suppressed.
    candidates = select(*cells, size=size, rule=(rule.score_floor, 1.0, len(cells[0])))
    least = rule.score_floor if rule.threshold is None else rule.threshold
    kept = scores >= least
    scale = torch.tensor((upright.width / width, upright.height / height))
    return {
        **_pixels("decode", stored),
        **_pixels("upright", np.asarray(upright)),
        "resized": resized,
        "graph_least_score": np.array(rule.score_floor),
        "least_score": np.array(least),
        "max_faces": np.array(rule.max_faces),
        "graph_boxes": boxes.numpy(),
        "graph_scores": scores.numpy(),
        "graph_landmarks": landmarks.numpy(),
        "boxes": (boxes[kept] * scale.repeat(2)).numpy(),
        "scores": scores[kept].numpy(),
        "landmarks": (landmarks[kept] * scale).numpy(),
        "scale": scale.numpy(),
        "iou_threshold": np.array(rule.iou_threshold),
        "candidate_boxes": candidates[0].numpy(),
        "candidate_scores": candidates[1].numpy(),
        "candidate_landmarks": candidates[2].numpy(),
    }


def _pixels(stage: str, image: np.ndarray) -> dict[str, np.ndarray]:
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return {f"{stage}_sha256": np.array(digest), f"{stage}_shape": np.array(image.shape)}


def main(run: str, listing: str, folder: str) -> None:
    recipe, network, _ = load_trained(Path(run))
    for index, line in enumerate(Path(listing).read_bytes().split(b"\0")):
        found = trace(network, recipe, Path(os.fsdecode(line)))
        np.savez(Path(folder) / f"{index:05d}.npz", **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
