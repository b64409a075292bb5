"""Confidence intervals: samples of images, and 95 % intervals of metrics over them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcycle.evaluation import bootstrap


def test_interval_holds_its_share_and_narrows_with_images():
    def width(images):
        values_P = np.arange(images) % 2
        interval = bootstrap.interval(bootstrap.weights(images) @ values_P / images)
        assert interval.least < 0.5 < interval.most
        return interval.most - interval.least

    # A share of one half has a standard error of 0.5 / sqrt(n), and 95 % lie within about two of them.
    assert width(100) == pytest.approx(4 * 0.05, abs=0.04)
    assert width(1600) == pytest.approx(4 * 0.0125, abs=0.01)


def test_sample_has_the_size_of_the_set_and_depends_on_the_seed():
    weights_BP = bootstrap.weights(9, draws=50, seed=5)
    assert weights_BP.shape == (50, 9)
    assert (weights_BP.sum(axis=1) == 9).all()
    assert len(np.unique(weights_BP, axis=0)) > 40
    np.testing.assert_array_equal(weights_BP, bootstrap.weights(9, draws=50, seed=5))
    assert (weights_BP != bootstrap.weights(9, draws=50, seed=6)).any()


def test_nan_samples_are_left_out():
    assert bootstrap.interval(np.array([math.nan, 2.0, 2.0])) == bootstrap.Interval(2.0, 2.0)
    assert math.isnan(bootstrap.interval(np.array([math.nan])).most)
    assert math.isnan(bootstrap.ratio(np.zeros(0), np.zeros(0), bootstrap.weights(0)).least)


def test_ratio_is_of_sums_and_not_a_mean_of_ratios():
    # Two images, with one of one and none of nine: 1/10 of both, 1 of the first alone, 0 of the second.
    weights_BP = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    interval = bootstrap.ratio(np.array([1.0, 0.0]), np.array([1.0, 9.0]), weights_BP[:1])
    assert (interval.least, interval.most) == pytest.approx((0.1, 0.1))
    everything = bootstrap.ratio(np.array([1.0, 0.0]), np.array([1.0, 9.0]), weights_BP)
    assert everything.least < 0.1 < 1 - everything.most + 0.1
