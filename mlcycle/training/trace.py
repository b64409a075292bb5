"""The training way over photo files, stage by stage: `python -m mlcycle.training.trace RUN LIST FOLDER`.

For each photograph of LIST (paths with NUL between) it writes FOLDER/00000.npz … with what it had after decoding,
turning upright, resizing, running the network and choosing boxes. `mlcycle freeze` holds this against the same from
inference.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.datasets.photograph import LabelledPhotograph
from mlcycle.errors import MlcycleError
from mlcycle.training import checkpoint, held_out
from mlcycle.training.network import FaceNetwork
from mlcycle.training.photos import fit_long_side, open_photo, stored_rgb, upright_rgb
from mlcycle.training.recipe import Recipe
from mlcycle.training.recipe_file import load as load_recipe
from mlcycle.training.run_folder import BEST, RECIPE, RunFolder
from mlcycle.training.selection import select


def load_trained(run: Path) -> tuple[Recipe, FaceNetwork, checkpoint.Progress]:
    """Returns a run's recipe, its best network (the moving average, in evaluation mode) and how far it had come.

    Raises:
        InputError, DataError: it is no run folder, or has no checkpoint yet.
    """
    folder = RunFolder(run)
    folder.must_exist()
    recipe = load_recipe(run / RECIPE)
    tensors, progress = checkpoint.load(folder.checkpoints / BEST)
    network = FaceNetwork(**recipe.model.model_dump())
    checkpoint.load_weights(tensors, network, "average")
    return recipe, network.eval(), progress


@torch.no_grad()
def answer(network: FaceNetwork, recipe: Recipe, picture_HW3: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the network finds in a picture (uint8 RGB) down to the score floor, best first.

    boxes_N4 (x1 y1 x2 y2, in pixels of the picture), scores_N, landmarks_N52 (x y; without rows where it has none).
    """
    rule, (height, width) = recipe.inference, picture_HW3.shape[:2]
    pixels = torch.from_numpy(picture_HW3.copy()).permute(2, 0, 1).unsqueeze(0).float()
    logits, boxes, landmarks = network(functional.pad(pixels, (0, -width % 32, 0, -height % 32)))
    return select(
        logits[0], boxes[0], landmarks[0],
        size=(width, height), rule=(rule.score_floor, rule.iou_threshold, rule.max_faces),
    )  # fmt: skip


def look(
    network: FaceNetwork, recipe: Recipe, photographs: Sequence[LabelledPhotograph]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields what the network finds in each photograph, one by one and without padding, as inference looks at them.

    boxes_N4 (x1 y1 x2 y2, in pixels of the photograph) and scores_N, best first.

    Raises:
        DataError: one cannot be read.
    """
    for picture_HW3, frame in held_out.pictures(photographs, recipe.inference.long_side):
        boxes_N4, scores_N, _ = answer(network, recipe, picture_HW3)
        yield frame.to_photograph(boxes_N4), scores_N.numpy()


def trace(network: FaceNetwork, recipe: Recipe, photo: Path) -> dict[str, np.ndarray]:
    """Returns what the training pipeline has after each stage, under the names that mlcycle.parity compares."""
    rule = recipe.inference
    try:
        stored = np.asarray(stored_rgb(open_photo(photo)))
        upright = upright_rgb(open_photo(photo))
    except MlcycleError as problem:
        return {"error": np.array(str(problem))}
    resized = fit_long_side(upright, rule.long_side)
    height, width = resized.shape[:2]
    boxes, scores, landmarks = answer(network, recipe, resized)
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
    }


def _pixels(stage: str, picture: np.ndarray) -> dict[str, np.ndarray]:
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    return {f"{stage}_sha256": np.array(digest), f"{stage}_shape": np.array(picture.shape)}


def main(run: str, listing: str, folder: str) -> None:
    recipe, network, _ = load_trained(Path(run))
    for index, line in enumerate(Path(listing).read_bytes().split(b"\0")):
        found = trace(network, recipe, Path(os.fsdecode(line)))
        np.savez(Path(folder) / f"{index:05d}.npz", **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
