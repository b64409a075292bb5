"""What a network finds at each checkpoint of its training, and how good it is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mlcycle
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.evaluation.coco import summarise
from mlcycle.evaluation.matches import Matches, match_images
from mlcycle.training import history
from mlcycle.training.model.predict import predict_all
from mlcycle.training.recipes.recipe_file import load as load_recipe
from mlcycle.training.run.run_folder import RECIPE


def steps(run: mlcycle.Run) -> list[int]:
    """Returns the steps whose weights a run has kept, in order; 0 stands for those before the first step."""
    return history.kept_steps(run.path)


def find(run: mlcycle.Run, step: int, image: Path) -> history.Found:
    """Returns what the network of a step finds in an image file, however unlikely, best first."""
    return history.find(history.network_at(run.path, step), load_recipe(run.path / RECIPE).inference, image)


def compare(run: mlcycle.Run, step: int, images: Sequence[LabelledImage]) -> Matches:
    """Returns which of its detections in labelled images are right and which are wrong, for the network of a step."""
    rule = load_recipe(run.path / RECIPE).inference
    predictions = list(predict_all(history.network_at(run.path, step), rule, images))
    return match_images([(each.boxes_N4, each.ignore_N) for each in images], predictions)


def score(run: mlcycle.Run, step: int, images: Sequence[LabelledImage]) -> float:
    """Returns the average precision (AP50, from 0 to 1) of the network of a step on labelled images."""
    return summarise(compare(run, step, images)).ap50
