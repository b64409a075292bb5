"""The conductor of a run's report: a run folder → report.html. Read it top to bottom.

The curves are in the run folder already. The rest comes of asking the best checkpoint once more about the held-out
images, one by one and without padding, as the frozen file will look at them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mlcycle import files
from mlcycle.datasets.member import ImagePath
from mlcycle.errors import DataError, Interrupted, MlcycleError
from mlcycle.evaluation import bootstrap, coco, groups
from mlcycle.evaluation.calibration import calibrate
from mlcycle.evaluation.matches import Prediction, match_images
from mlcycle.reporting import mistakes
from mlcycle.training.data.image_input import open_image, upright_rgb
from mlcycle.training.data.training_data import TrainingData, load_training_data
from mlcycle.training.distributed.device import one_thread
from mlcycle.training.export import operating_points
from mlcycle.training.export.operating_points import Points, Rates
from mlcycle.training.model.predict import predict_all
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.reports import report_page
from mlcycle.training.reports.report_validation import Validation
from mlcycle.training.run import run_summary
from mlcycle.training.run.run_folder import BEST, REPORT, RunFolder
from mlcycle.training.run.run_summary import RunSummary
from mlcycle.training.trace import load_trained

NO_GROUP = "(no group)"
# Samples of the images for intervals: enough for three digits of the ends.
DRAWS = 200
ELSEWHERE = "choose another place: --out FILE"

Advance = Callable[[int], None]
Started = Callable[[int], Advance]


@dataclass(frozen=True, slots=True)
class Asked:
    """How a report is to be made.

    Attributes:
        images: whether cut-outs of the held-out images go into it.
        started: called with the number of held-out images before the first is looked at; what it returns is
            called with 1 after each.
        stop: asked between images; gives the number of a signal that came, or 0.
    """

    images: bool = True
    started: Started = field(default=lambda images: lambda done: None)
    stop: Callable[[], int] = field(default=lambda: 0)


@dataclass(frozen=True, slots=True)
class Written:
    """A report that was written, and why it holds nothing but curves; empty where it holds all."""

    path: Path
    why_not: str


def write_report(run: Path, asked: Asked, target: Path | None = None) -> Written:
    """Makes a run's report, also of one that is still training or was broken off.

    Args:
        target: the file; None means report.html in the run folder.

    Raises:
        InputError, RecipeError: it is no run folder, or the file cannot be written.
        Interrupted: `asked.stop` said so; then there is a report, if only of curves.
    """
    told = run_summary.read(run)
    path = target or run / REPORT
    if target is None and not path.exists():
        # Should the rest be broken off, here are the curves.
        curves = report_page.render(told, None, "the held-out images were not looked at for this page")
        files.write(path, curves, hint=ELSEWHERE)
    seen, why_not = _val(told, asked)
    files.write(path, report_page.render(told, seen, why_not), hint=ELSEWHERE)
    return Written(path, why_not)


def _val(told: RunSummary, asked: Asked) -> tuple[Validation | None, str]:
    """Returns what the best checkpoint finds on the held-out images, or why nothing can be said of that."""
    if not (RunFolder(told.path).checkpoints / BEST).is_file():
        return None, "the run has not been evaluated yet"
    try:
        return _measure(told, asked), ""
    except Interrupted:
        raise
    except MlcycleError as problem:
        return None, problem.message


def _measure(told: RunSummary, asked: Asked) -> Validation:
    recipe, network, progress = load_trained(told.path)
    training_data = load_training_data(recipe.data)
    training_data.check_fingerprint(told.data.get("fingerprint"))
    advance, found = asked.started(len(training_data.val)), []
    with one_thread():
        for boxes_and_scores in predict_all(network, recipe.inference, training_data.val):
            found.append(boxes_and_scores)
            advance(1)
            if signal_number := asked.stop():
                raise Interrupted(
                    "interrupted while the report was being made; the run itself is all there",
                    f"make the report: mlcycle train report {told.path}",
                    signal_number,
                )
    return _metrics(recipe, progress.best_step, training_data, found, asked.images)


def _metrics(
    recipe: Recipe, step: int, training_data: TrainingData, found: list[Prediction], thumbnails: bool
) -> Validation:
    images, rule = training_data.val, recipe.inference
    truths = [(each.boxes_N4, each.ignore_N) for each in images]
    matches = match_images(truths, found, max_detections=rule.max_faces)
    chosen = _points(truths, found, recipe)
    threshold = chosen.thresholds.get(operating_points.BALANCED, rule.threshold or rule.score_floor)
    ap_B, ap50_B = coco.drawn(matches, bootstrap.weights(len(images), draws=DRAWS))
    seen = mistakes.Seen(images, found, matches, threshold)
    return Validation(
        step=step,
        matches=matches,
        whole=coco.summarise(matches),
        intervals=(bootstrap.interval(ap50_B), bootstrap.interval(ap_B)),
        threshold=threshold,
        points=chosen.measured.get("points", {}),
        thresholds=chosen.thresholds,
        calibration=calibrate(matches),
        groups=groups.by_group(matches, [each.group or NO_GROUP for each in images], threshold),
        misses=mistakes.misses(seen, _upright) if thumbnails else [],
        false_alarms=mistakes.false_alarms(seen, _upright) if thumbnails else [],
        has_thumbnails=thumbnails,
    )


def _points(truths: list[tuple[np.ndarray, np.ndarray]], found: list[Prediction], recipe: Recipe) -> Points:
    try:
        return operating_points.choose(truths, found, recipe.inference, Rates())
    except DataError:  # it finds no face at any threshold
        return Points({})


def _upright(path: ImagePath) -> Image.Image | None:
    try:
        return upright_rgb(open_image(path))
    except DataError:
        return None
