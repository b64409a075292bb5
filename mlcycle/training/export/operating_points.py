"""Operating points: the thresholds that a model file carries, chosen on validation images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcycle.counted import counted
from mlcycle.errors import DataError, UsageError
from mlcycle.evaluation.matches import Matches, Prediction, Truth, match_images
from mlcycle.evaluation.operating_point import OperatingPoint, at_threshold, best_f1, lowest, precision, thousandths
from mlcycle.training.recipes.recipe import Inference

SENSITIVE, BALANCED, PRECISE = "sensitive", "balanced", "precise"


@dataclass(frozen=True, slots=True)
class Rates:
    """The most false alarms per image at which the points "precise" and "sensitive" are chosen.

    Raises:
        UsageError: "precise" allows more than "sensitive", or a rate is not a finite number.
    """

    precise: float = 0.05
    sensitive: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.precise <= self.sensitive < math.inf:
            raise UsageError(
                f"'precise' cannot allow {self.precise:g} false alarms per image if 'sensitive' allows"
                f" {self.sensitive:g}",
                "give 'precise' the smaller number: --precise-false-alarms, --sensitive-false-alarms",
            )


@dataclass(frozen=True, slots=True)
class Points:
    """The thresholds of a model file.

    Attributes:
        thresholds: operating point → lowest score of a face at this point.
        measured: how each point was chosen and its metrics, as the model file records them; empty if not measured.
        why_not: why nothing was measured; empty if it was.
    """

    thresholds: dict[str, float]
    measured: dict[str, Any] = field(default_factory=dict)
    why_not: str = ""


def choose(truths: Sequence[Truth], found: Sequence[Prediction], rule: Inference, rates: Rates) -> Points:
    """Chooses thresholds, in thousandths, from predictions on labelled images.

    "balanced" is the recipe's threshold or, if that is null, the one with the best F1 at an IoU of 0.5. "precise" is
    the lowest threshold not below balanced that keeps to its rate, and is left out if there is none; "sensitive" is
    the lowest threshold not above balanced that keeps to its rate.

    Args:
        truths: boxes_N4 (x1 y1 x2 y2) and ignore_N of each image.
        found: boxes_M4 and scores_M predicted on each image, down to the score floor.

    Raises:
        DataError: the recipe has no threshold, and no face is found at any.
    """
    matches = match_images(truths, found, max_detections=rule.max_faces, ranges=())
    thresholds_K = thousandths(rule.score_floor)
    balanced = rule.threshold
    if balanced is None:
        best = best_f1(matches, thresholds_K)
        if best is None:
            raise DataError(
                f"no threshold can be chosen, because no face is found on the {len(truths)} validation images",
                "train longer, or set inference.threshold in the recipe",
            )
        balanced = best.threshold
    sensitive, precise = (lowest(matches, thresholds_K, rate) for rate in (rates.sensitive, rates.precise))
    thresholds = {SENSITIVE: min(sensitive.threshold, balanced) if sensitive else balanced, BALANCED: balanced}
    if precise:
        thresholds[PRECISE] = max(precise.threshold, balanced)
    return Points(thresholds, _measured(matches, thresholds, rule, rates))


def given(rule: Inference, why_not: str) -> Points:
    """Returns only the recipe's threshold, for a run whose validation images are not available.

    Raises:
        DataError: the recipe has no threshold.
    """
    if rule.threshold is None:
        raise DataError(
            f"no threshold can be chosen: {why_not}",
            "freeze where the images of the run's recipe.yaml are, or set inference.threshold in the recipe",
        )
    return Points({BALANCED: rule.threshold}, why_not=why_not)


def _measured(matches: Matches, thresholds: dict[str, float], rule: Inference, rates: Rates) -> dict[str, Any]:
    rules = {
        SENSITIVE: f"at most {counted(rates.sensitive, 'false alarm')} per image, and not above balanced",
        BALANCED: "the best F1" if rule.threshold is None else "the recipe's threshold",
        PRECISE: f"at most {counted(rates.precise, 'false alarm')} per image, and not below balanced",
    }
    points = {name: at_threshold(matches, threshold) for name, threshold in thresholds.items()}
    if points[SENSITIVE].false_alarms > rates.sensitive + 1e-9:
        rules[SENSITIVE] = f"that of balanced, at more than {counted(rates.sensitive, 'false alarm')} per image"
    return {
        "photographs": matches.faces_RP.shape[1],
        "faces": int(matches.faces_RP[0].sum()),
        "intersection_over_union": 0.5,
        "false_alarms_allowed": {SENSITIVE: rates.sensitive, PRECISE: rates.precise},
        "points": {name: {"rule": rules[name]} | _metrics(matches, point) for name, point in points.items()},
    }


def _metrics(matches: Matches, point: OperatingPoint) -> dict[str, float | None]:
    share = precision(matches, point.threshold)
    return {
        "recall": _rounded(point.recall),
        "precision": _rounded(share),
        "false_alarms_a_photograph": _rounded(point.false_alarms),
    }


def _rounded(value: float) -> float | None:
    """Returns None for NaN, which JSON cannot express."""
    return None if math.isnan(value) else round(value, 4)
