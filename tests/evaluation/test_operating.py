"""Recall and false alarms at a threshold, and how far they may be trusted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcycle.evaluation import bootstrap, coco, operating

FACE = [0, 0, 20, 20]
NOWHERE = [200, 200, 240, 240]


def photograph(*found):
    """A photograph with one face, and (box, score) of what was found on it."""
    boxes_M4 = np.array([box for box, _ in found], float).reshape(-1, 4)
    return (np.array([FACE], float), np.zeros(1, bool)), (boxes_M4, np.array([score for _, score in found]))


def matches(*photographs):
    truths, predictions = zip(*photographs, strict=True)
    return coco.match_photographs(truths, predictions)


def test_a_threshold_accepts_scores_equal_to_it():
    compared = matches(photograph((FACE, 0.5)), photograph((NOWHERE, 0.5), (FACE, 0.4)))
    assert operating.at_threshold(compared, 0.5) == operating.OperatingPoint(0.5, 0.5, 0.5)
    assert operating.at_threshold(compared, 0.4).recall == 1.0
    assert operating.at_threshold(compared, 0.51) == operating.OperatingPoint(0.51, 0.0, 0.0)


def test_one_false_alarm_in_ten_photographs_may_be_kept_and_no_second_one():
    others = [photograph((FACE, 0.9))] * 8
    one = photograph((NOWHERE, 0.8), (FACE, 0.7))
    two = photograph((NOWHERE, 0.6), (FACE, 0.5))
    point = operating.at_false_alarms(matches(*others, one, two), 0.1)
    assert (point.threshold, point.recall, point.false_alarms) == (0.7, 0.9, 0.1)


def test_equal_scores_are_accepted_together_or_not_at_all():
    compared = matches(photograph((FACE, 0.9)), photograph((FACE, 0.8), (NOWHERE, 0.8)))
    assert operating.at_false_alarms(compared, 0.4).threshold == 0.9
    assert operating.at_false_alarms(compared, 0.5).recall == 1.0


def test_where_the_best_scored_is_a_false_alarm_nothing_may_be_accepted():
    point = operating.at_false_alarms(matches(photograph((NOWHERE, 0.9), (FACE, 0.8))), 0.1)
    assert (point.threshold, point.recall, point.false_alarms) == (math.inf, 0.0, 0.0)
    assert operating.at_false_alarms(matches(photograph()), 0.1).recall == 0.0


def test_weights_stand_for_photographs_drawn_more_than_once():
    once = [photograph((FACE, 0.9)), photograph((NOWHERE, 0.8)), photograph((FACE, 0.7))]
    drawn = matches(once[0], once[0], once[2])
    weighted = operating.at_threshold(matches(*once), 0.5, np.array([2.0, 0.0, 1.0]))
    assert weighted == operating.at_threshold(drawn, 0.5)


def test_the_interval_holds_the_share_it_says_and_narrows_with_photographs():
    def width(photographs):
        values_P = np.arange(photographs) % 2
        interval = bootstrap.interval(lambda weights_P: float(values_P @ weights_P / photographs), photographs)
        assert interval.least < 0.5 < interval.most
        return interval.most - interval.least

    # A share of one half has a standard error of 0.5 / sqrt(n), and 95 % lie within about two of them.
    assert width(100) == pytest.approx(4 * 0.05, abs=0.04)
    assert width(1600) == pytest.approx(4 * 0.0125, abs=0.01)


def test_the_interval_repeats_with_its_seed_and_is_nothing_without_photographs():
    def first_weight(weights_P):
        return float(weights_P[0])

    assert bootstrap.interval(first_weight, 9, seed=5) == bootstrap.interval(first_weight, 9, seed=5)
    assert math.isnan(bootstrap.interval(first_weight, 0).least)
    assert math.isnan(bootstrap.interval(lambda _: math.nan, 3).most)
