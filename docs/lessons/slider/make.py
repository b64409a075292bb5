"""Makes docs/lessons/two-phases.html: a slider through the checkpoints of one training, beside the frozen file.

Usage, from the checkout, with the extras `train` and `demo`:

    python docs/lessons/slider/make.py WORK

WORK is a folder for scenes, run and model file. The demo's recipe is trained there unless it has been, which takes
five minutes on two quiet cores. The page is one file, which loads nothing.
"""

from __future__ import annotations

import argparse
import base64
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

import mlcycle
from mlcycle.demo.scenes import build_scenes
from mlcycle.demo.source_images import UNSEEN, write_unseen
from mlcycle.files import write
from mlcycle.reporting.data_uri import data_uri
from mlcycle.training import history
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.recipes.recipe_file import load as load_recipe
from mlcycle.training.run.run_folder import RECIPE

CHECKPOINT_EVERY, EVALUATE_EVERY = 20, 300
# How many of the best guesses of a step are drawn in each image.
GUESSES = 3
LONG_SIDE = 480
DIGITS = 12  # of a digest, in hex
# A weight of the first layer as large as this is drawn as black or as full colour.
STRONGEST = 2.5
STEM = "network.stem.convolution.weight"
TEMPLATE, PAGE = Path(__file__).with_name("page.html"), Path(__file__).parents[1] / "two-phases.html"


def main(work: Path) -> None:
    """Trains and freezes, unless that has been done, and writes the page."""
    run = train(work)
    model = mlcycle.load(frozen(run, work / "demo.onnx"))
    images = write_unseen(work / "images")
    filters_F333 = first_layer_of_file(model.path)
    # What the page says of the file: that it holds the weights of this step.
    np.testing.assert_allclose(
        filters_F333, first_layer(history.network_at(run.path, run.best_step)), rtol=1e-4, atol=1e-6
    )
    content = {
        "threshold": model.threshold,
        "sha256": model.sha256,
        "bytes": model.path.stat().st_size,
        "best": run.best_step,
        "filters": as_colours(filters_F333),
        **learning(run),
        "steps": [step_of(run.path, step, images) for step in history.kept_steps(run.path)],
        "images": [
            embedded(path)
            | {"label": each.caption.split(",")[0], "caption": each.caption, "source": each.source}
            | {"frozen": found_by(model, path)}
            for each, path in zip(UNSEEN, images, strict=True)
        ],
    }
    write(PAGE, page(content), overwrite=True)


def page(content: dict[str, Any]) -> str:
    """Returns the page with its content in it."""
    return TEMPLATE.read_text("utf-8").replace("/*CONTENT*/", json.dumps(content, separators=(",", ":")), 1)


def train(work: Path) -> mlcycle.Run:
    """Returns the training of the demo's recipe, all of whose checkpoints are kept."""
    if (work / "run" / "recipe.yaml").is_file():
        return mlcycle.train(work / "run", resume=True)
    build_scenes(work / "scenes")
    changes = {
        "data.train": [{"path": str(work / "scenes"), "split": "train"}],
        "data.validation": [{"path": str(work / "scenes"), "split": "val"}],
        "data.decoded": str(work / "decoded"),
        "schedule.checkpoint_every": CHECKPOINT_EVERY,
        "schedule.keep_checkpoints": 1000,
        "schedule.evaluate_every": EVALUATE_EVERY,
    }
    return mlcycle.train("demo", changes, work / "run")


def frozen(run: mlcycle.Run, file: Path) -> Path:
    """Returns the model file of a run; freezes the run if there is none."""
    return file if file.is_file() else mlcycle.freeze(run, file).path


def learning(run: mlcycle.Run) -> dict[str, Any]:
    """Returns loss and validation score by step, and how much was trained."""
    metrics = run.metrics()
    return {
        "losses": [[each["step"], round(each["loss"], 3)] for each in metrics if "loss" in each],
        "scores": [
            [each["step"], round(each["average_precision_50"], 3)] for each in metrics if "average_precision_50" in each
        ],
        "weights": sum(each.numel() for each in history.network_at(run.path, 0).parameters()),
        "crops": run.steps * load_recipe(run.path / RECIPE).schedule.batch,
    }


def step_of(run: Path, step: int, images: list[Path]) -> dict[str, Any]:
    """Returns the network after a step: a digest of its weights, its first layer, its best guesses in each image."""
    network, rule = history.network_at(run, step), load_recipe(run / RECIPE).inference
    digest = hashlib.sha256()
    for weight in network.parameters():
        digest.update(weight.detach().numpy().tobytes())
    guesses = [history.find(network, rule, image) for image in images]
    return {
        "step": step,
        "digest": digest.hexdigest()[:DIGITS],
        "filters": as_colours(first_layer(network)),
        "guesses": [as_list(each.boxes_N4, each.scores_N) for each in guesses],
    }


def first_layer(network: FaceNetwork) -> np.ndarray:
    """Returns the filters of the first layer (filter, row, column, colour), as freezing folds them."""
    stem = copy.deepcopy(network.stem)
    stem.fuse()
    return stem.convolution.weight.detach().numpy().transpose(0, 2, 3, 1)


def first_layer_of_file(model: Path) -> np.ndarray:
    """Returns the same filters from a model file, which holds them for pixels from 0 to 255."""
    [stem] = [each for each in onnx.load(model).graph.initializer if each.name == STEM]
    return onnx.numpy_helper.to_array(stem).reshape(-1, 3, 3, 3) * 255


def as_colours(filters_F333: np.ndarray) -> str:
    """Returns filters as bytes in base64, filter by filter, row by row, red green blue; 128 is a weight of 0."""
    levels = (128 + 127 * filters_F333 / STRONGEST).clip(0, 255).round()
    return base64.b64encode(levels.astype(np.uint8).tobytes()).decode()


def found_by(model: mlcycle.Model, image: Path) -> list[list[float]]:
    """Returns what the frozen file finds in an image, in the form of `as_list`."""
    faces = model(image)
    return as_list(faces.boxes, faces.scores)


def as_list(boxes_N4: np.ndarray, scores_N: np.ndarray) -> list[list[float]]:
    """Returns the best boxes with their scores: x1 y1 x2 y2 in whole pixels, and the score."""
    pairs = zip(boxes_N4[:GUESSES], scores_N[:GUESSES], strict=True)
    return [[*(round(float(each)) for each in box_4), round(float(score), 2)] for box_4, score in pairs]


def embedded(path: Path) -> dict[str, Any]:
    """Returns an image of at most LONG_SIDE pixels as a data URI, and the size of the original, for the boxes."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    size = image.size
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return {"uri": data_uri(image, quality=85), "width": size[0], "height": size[1]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK", help="folder for scenes, run and model file")
    main(parser.parse_args().work.resolve())
