"""The thresholds of a model file: in order, not below the score floor, and at the requested rates."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from mlcycle.errors import DataError, UsageError
from mlcycle.training.export.operating_points import Rates, choose, given
from mlcycle.training.recipes.recipe import Inference

pytestmark = pytest.mark.training

FACE = [0, 0, 20, 20]
NOWHERE = [200, 200, 240, 240]


def chosen(*found_on_each, rule: Inference | None = None, rates: Rates | None = None):
    """Chooses thresholds on images with one face each, given the predicted (box, score) pairs of each."""
    truths = [(np.array([FACE], float), np.zeros(1, bool)) for _ in found_on_each]
    found = [
        (np.array([box for box, _ in each], float).reshape(-1, 4), np.array([score for _, score in each]))
        for each in found_on_each
    ]
    return choose(truths, found, rule or Inference(), rates or Rates())


def test_three_thresholds_and_their_metrics() -> None:
    clear, unsure = [(FACE, 0.9), (NOWHERE, 0.1)], [(NOWHERE, 0.95), (FACE, 0.6), (NOWHERE, 0.3)]
    points = chosen(*[clear] * 9, unsure)
    # Ten false alarms in ten images are one per image; two in ten are more than 0.05 per image.
    assert points.thresholds == {"sensitive": 0.101, "balanced": 0.45, "precise": 0.951}
    measured = points.measured["points"]
    assert measured["balanced"]["rule"] == "the best F1"
    assert (measured["balanced"]["recall"], measured["balanced"]["precision"]) == (1.0, 0.9091)
    assert measured["precise"]["precision"] is None
    assert measured["sensitive"]["false_alarms_a_photograph"] == 0.2
    assert (points.measured["photographs"], points.measured["faces"]) == (10, 10)
    assert json.loads(json.dumps(points.measured, allow_nan=False)) == points.measured


@pytest.mark.parametrize("number", [0.05, 0.5, 0.99])
def test_thresholds_are_ordered_for_any_threshold_of_the_recipe(number: float) -> None:
    points = chosen([(FACE, 0.9), (NOWHERE, 0.2)], [(NOWHERE, 0.7)], rule=Inference(threshold=number))
    thresholds = points.thresholds
    assert thresholds["balanced"] == number
    assert 0.02 <= thresholds["sensitive"] <= number <= thresholds["precise"]
    assert points.measured["points"]["balanced"]["rule"] == "the recipe's threshold"


def test_without_false_alarms_sensitive_is_the_score_floor() -> None:
    points = chosen([(FACE, 0.9)], [(FACE, 0.8)], rule=Inference(score_floor=0.1))
    assert points.thresholds == {"sensitive": 0.1, "balanced": 0.45, "precise": 0.45}


def test_a_rate_that_no_threshold_meets_gives_no_point() -> None:
    points = chosen([(FACE, 0.9), (NOWHERE, 1.0)])
    assert list(points.thresholds) == ["sensitive", "balanced"]
    equal_rates = chosen([(FACE, 0.9), (NOWHERE, 1.0)], rates=Rates(precise=1.0))
    assert equal_rates.measured["false_alarms_allowed"] == {"sensitive": 1.0, "precise": 1.0}
    assert equal_rates.thresholds["precise"] == equal_rates.thresholds["balanced"]


def test_a_rate_exceeded_by_balanced_is_not_claimed() -> None:
    points = chosen(*[[(FACE, 0.9), (NOWHERE, 0.8), ([100, 100, 140, 140], 0.7)]] * 2, rule=Inference(threshold=0.5))
    assert points.thresholds["sensitive"] == 0.5
    measured = points.measured["points"]["sensitive"]
    assert measured["false_alarms_a_photograph"] == 2.0
    assert measured["rule"] == "that of balanced, at more than 1 false alarm per image"


@pytest.mark.parametrize("rates", [(2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf")), (-1.0, 1.0)])
def test_rates_must_be_numbers_in_order(rates: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="'precise' cannot allow"):
        Rates(*rates)


def test_without_predictions_the_recipe_needs_a_threshold() -> None:
    with pytest.raises(DataError, match="no threshold can be chosen, because no face is found"):
        chosen([(NOWHERE, 0.9)])
    assert chosen([(NOWHERE, 0.9)], rule=Inference(threshold=0.5)).thresholds["balanced"] == 0.5
    with pytest.raises(DataError, match="gone"):
        given(Inference(), "the images are gone")
    assert given(Inference(threshold=0.5), "gone").thresholds == {"balanced": 0.5}
