"""Operating points: the thresholds that a model file carries, chosen on images that the network never studied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcycle.errors import DataError, UsageError
from mlcycle.evaluation.matches import Matches, Prediction, Truth, match_images
from mlcycle.evaluation.operating_point import OperatingPoint, at_threshold, best_f1, lowest, precision, thousandths
from mlcycle.training.recipes.recipe import Inference

SENSITIVE, BALANCED, PRECISE = "sensitive", "balanced", "precise"


@dataclass(frozen=True, slots=True)
class Rates:
    """How many false alarms per image the points "precise" and "sensitive" may cost where they are chosen.

    Raises:
        UsageError: "precise" may cost more than "sensitive", or one is no number.
    """

    precise: float = 0.05
    sensitive: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.precise <= self.sensitive < math.inf:
            raise UsageError(
                f"'precise' may not cost {self.precise:g} false alarms per image where 'sensitive' may cost"
                f" {self.sensitive:g}",
                "give 'precise' the smaller number: --precise-false-alarms, --sensitive-false-alarms",
            )


@dataclass(frozen=True, slots=True)
class Points:
    """The thresholds of a model file.

    Attributes:
        thresholds: operating point → least score of a face there.
        measured: what the file says of where they come from, for people; empty where nothing was measured.
        why_not: why nothing was measured; empty where it was.
    """

    thresholds: dict[str, float]
    measured: dict[str, Any] = field(default_factory=dict)
    why_not: str = ""


def choose(truths: Sequence[Truth], found: Sequence[Prediction], rule: Inference, rates: Rates) -> Points:
    """Chooses thresholds by what was found on labelled images, in thousandths.

    "balanced" is the recipe's number, or else where F1 is best at an IoU of 0.5. "precise" is the lowest threshold that
    keeps to its rate and is not below it, and is left out where none does; "sensitive" the lowest that keeps to its
    rate and is not above it.

    Args:
        truths: boxes_N4 (x1 y1 x2 y2) and ignore_N of each image.
        found: boxes_M4 and scores_M of each, down to the score floor.

    Raises:
        DataError: no threshold is given, and at none is a face found.
    """
    matches = match_images(truths, found, max_detections=rule.max_faces, ranges=())
    thresholds_K = thousandths(rule.score_floor)
    balanced = rule.threshold
    if balanced is None:
        best = best_f1(matches, thresholds_K)
        if best is None:
            raise DataError(
                f"on {len(truths)} held-out images no face is found at any threshold, so that none can be chosen",
                "train longer, or by a recipe that gives inference.threshold",
            )
        balanced = best.threshold
    loud, quiet = (lowest(matches, thresholds_K, rate) for rate in (rates.sensitive, rates.precise))
    thresholds = {SENSITIVE: min(loud.threshold, balanced) if loud else balanced, BALANCED: balanced}
    if quiet:
        thresholds[PRECISE] = max(quiet.threshold, balanced)
    return Points(thresholds, _measured(matches, thresholds, rule, rates))


def given(rule: Inference, why_not: str) -> Points:
    """Returns the recipe's threshold alone, where nothing can be measured.

    Raises:
        DataError: the recipe leaves the choice to be made.
    """
    if rule.threshold is None:
        raise DataError(
            f"no threshold can be chosen: {why_not}",
            "freeze where the images of the run's recipe.yaml are, or train by one that gives inference.threshold",
        )
    return Points({BALANCED: rule.threshold}, why_not=why_not)


def _measured(matches: Matches, thresholds: dict[str, float], rule: Inference, rates: Rates) -> dict[str, Any]:
    rules = {
        SENSITIVE: f"at most {rates.sensitive:g} false alarms per image, and not above balanced",
        BALANCED: "the best F1" if rule.threshold is None else "the recipe's number",
        PRECISE: f"at most {rates.precise:g} false alarms per image, and not below balanced",
    }
    points = {name: at_threshold(matches, threshold) for name, threshold in thresholds.items()}
    if points[SENSITIVE].false_alarms > rates.sensitive + 1e-9:
        rules[SENSITIVE] = f"that of balanced, which costs more than {rates.sensitive:g} false alarms per image"
    return {
        "photographs": matches.faces_RP.shape[1],
        "faces": int(matches.faces_RP[0].sum()),
        "intersection_over_union": 0.5,
        "false_alarms_allowed": {SENSITIVE: rates.sensitive, PRECISE: rates.precise},
        "points": {name: {"rule": rules[name]} | _figures(matches, point) for name, point in points.items()},
    }


def _figures(matches: Matches, point: OperatingPoint) -> dict[str, float | None]:
    share = precision(matches, point.threshold)
    return {
        "recall": _rounded(point.recall),
        "precision": _rounded(share),
        "false_alarms_a_photograph": _rounded(point.false_alarms),
    }


def _rounded(value: float) -> float | None:
    """JSON knows no number for the share of nothing."""
    return None if math.isnan(value) else round(value, 4)
