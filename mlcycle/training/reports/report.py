"""The conductor of a run's report: a run folder → report.html. Read it top to bottom.

The curves are in the run folder already. For the rest, the best checkpoint predicts on the validation images again, one
by one and without padding, as the frozen file will.
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
# Bootstrap samples: enough for three digits of an interval's ends.
DRAWS = 200
ELSEWHERE = "choose another place: --out FILE"

Advance = Callable[[int], None]
Started = Callable[[int], Advance]


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Options of a report.

    Attributes:
        images: whether to include crops of the validation images.
        started: called with the number of validation images before the first prediction; the function that it returns
            is called with 1 after each.
        stop: called between images; returns the number of a signal that was received, or 0.
    """

    images: bool = True
    started: Started = field(default=lambda images: lambda done: None)
    stop: Callable[[], int] = field(default=lambda: 0)


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report that was written, and the reason if it has curves only; empty if it is complete."""

    path: Path
    missing_reason: str


def write_report(run: Path, options: ReportOptions, target: Path | None = None) -> WrittenReport:
    """Writes a run's report, also while the run is training or after it was interrupted.

    Args:
        target: the file; None means report.html in the run folder.

    Raises:
        InputError, RecipeError: `run` is not a run folder, or the file cannot be written.
        Interrupted: `options.stop` returned a signal; the run folder then has a report, at least of its curves.
    """
    summary = run_summary.read(run)
    path = target or run / REPORT
    if target is None and not path.exists():
        # If the rest is interrupted, the curves are there.
        curves = report_page.render(summary, None, "the predictions for this page were interrupted")
        files.write(path, curves, overwrite=True, hint=ELSEWHERE)
    validation, missing_reason = _validate(summary, options)
    files.write(path, report_page.render(summary, validation, missing_reason), overwrite=True, hint=ELSEWHERE)
    return WrittenReport(path, missing_reason)


def _validate(summary: RunSummary, options: ReportOptions) -> tuple[Validation | None, str]:
    """Returns the results of the best checkpoint on the validation images, or the reason if there are none."""
    if not (RunFolder(summary.path).checkpoints / BEST).is_file():
        return None, "the run has not been evaluated yet"
    try:
        return _measure(summary, options), ""
    except Interrupted:
        raise
    except MlcycleError as problem:
        return None, problem.message


def _measure(summary: RunSummary, options: ReportOptions) -> Validation:
    recipe, network, progress = load_trained(summary.path)
    training_data = load_training_data(recipe.data)
    training_data.check_fingerprint(summary.data.get("fingerprint"))
    advance, found = options.started(len(training_data.val)), []
    with one_thread():
        for boxes_and_scores in predict_all(network, recipe.inference, training_data.val):
            found.append(boxes_and_scores)
            advance(1)
            if signal_number := options.stop():
                raise Interrupted(
                    "interrupted during the report; the run itself is complete",
                    f"write the report with: mlcycle train report {summary.path}",
                    signal_number,
                )
    return _metrics(recipe, progress.best_step, training_data, found, options.images)


def _metrics(
    recipe: Recipe, step: int, training_data: TrainingData, found: list[Prediction], thumbnails: bool
) -> Validation:
    images, rule = training_data.val, recipe.inference
    truths = [(each.boxes_N4, each.ignore_N) for each in images]
    matches = match_images(truths, found, max_detections=rule.max_faces)
    chosen = _points(truths, found, recipe)
    threshold = chosen.thresholds.get(operating_points.BALANCED, rule.threshold or rule.score_floor)
    ap_B, ap50_B = coco.drawn(matches, bootstrap.weights(len(images), draws=DRAWS))
    predictions = mistakes.Predictions(images, found, matches, threshold)
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
        misses=mistakes.misses(predictions, _upright) if thumbnails else [],
        false_alarms=mistakes.false_alarms(predictions, _upright) if thumbnails else [],
        has_thumbnails=thumbnails,
    )


def _points(truths: list[tuple[np.ndarray, np.ndarray]], found: list[Prediction], recipe: Recipe) -> Points:
    try:
        return operating_points.choose(truths, found, recipe.inference, Rates())
    except DataError:  # no face is detected at any threshold
        return Points({})


def _upright(path: ImagePath) -> Image.Image | None:
    try:
        return upright_rgb(open_image(path))
    except DataError:
        return None
