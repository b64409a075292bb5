"""Calibration: bins of scores, their calibration error, and detections that are left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcycle.evaluation.calibration import Bin, calibrate
from mlcycle.evaluation.matches import match_images

FACE, ELSEWHERE, CROWD = [0, 0, 20, 20], [100, 100, 120, 120], [200, 200, 300, 300]


def calibration(*images):
    """Matches of images with one face and one ignored crowd each, and detections (box, score)."""
    truths = [(np.array([FACE, CROWD], float), np.array([False, True])) for _ in images]
    found = [
        (np.array([box for box, _ in each], float).reshape(-1, 4), np.array([score for _, score in each], float))
        for each in images
    ]
    return calibrate(match_images(truths, found, ranges=()))


def test_error_is_the_weighted_mean_difference_of_the_bins():
    both = calibration([(FACE, 0.91), (ELSEWHERE, 0.95)], [(FACE, 0.93)], [(ELSEWHERE, 0.15)])
    assert [(each.least, each.detections, each.right) for each in both.bins] == [(0.1, 1, 0), (0.9, 3, 2)]
    assert both.bins[1].score == pytest.approx(0.93)
    assert both.error == pytest.approx((1 * 0.15 + 3 * (0.93 - 2 / 3)) / 4)


def test_ignored_detections_are_left_out_and_score_one_has_a_bin():
    some = calibration([(FACE, 1.0), ([210, 210, 230, 230], 0.5)])
    assert [(each.least, each.detections, each.right) for each in some.bins] == [(0.9, 1, 1)]
    assert some.error == 0


def test_no_detections_have_no_error():
    nothing = calibration([])
    assert nothing.bins == ()
    assert math.isnan(nothing.error)


def test_interval_is_wilsons():
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    assert Bin(0, 0.1, 263, 81, 0.05).interval() == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert Bin(0, 0.1, 20, 0, 0.05).interval() == pytest.approx((0.0, 0.1611), abs=1e-4)
