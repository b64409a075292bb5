"""Recall and false alarms at a threshold, and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcycle.evaluation import bootstrap, coco, operating_point

FACE = [0, 0, 20, 20]
NOWHERE = [200, 200, 240, 240]


def image(*found):
    """Matches of images with one face each and detections (box, score)."""
    boxes_M4 = np.array([box for box, _ in found], float).reshape(-1, 4)
    return (np.array([FACE], float), np.zeros(1, bool)), (boxes_M4, np.array([score for _, score in found]))


def matches(*images):
    truths, predictions = zip(*images, strict=True)
    return coco.match_images(truths, predictions)


def test_threshold_accepts_scores_equal_to_it():
    compared = matches(image((FACE, 0.5)), image((NOWHERE, 0.5), (FACE, 0.4)))
    assert operating_point.at_threshold(compared, 0.5) == operating_point.OperatingPoint(0.5, 0.5, 0.5)
    assert operating_point.at_threshold(compared, 0.4).recall == 1.0
    assert operating_point.at_threshold(compared, 0.51) == operating_point.OperatingPoint(0.51, 0.0, 0.0)


def test_one_false_alarm_in_ten_images_is_allowed_and_a_second_is_not():
    others = [image((FACE, 0.9))] * 8
    one = image((NOWHERE, 0.8), (FACE, 0.7))
    two = image((NOWHERE, 0.6), (FACE, 0.5))
    point = operating_point.at_false_alarms(matches(*others, one, two), 0.1)
    assert (point.threshold, point.recall, point.false_alarms) == (0.7, 0.9, 0.1)


def test_of_equal_scores_all_or_none_are_accepted():
    compared = matches(image((FACE, 0.9)), image((FACE, 0.8), (NOWHERE, 0.8)))
    assert operating_point.at_false_alarms(compared, 0.4).threshold == 0.9
    assert operating_point.at_false_alarms(compared, 0.5).recall == 1.0


def test_nothing_is_accepted_if_the_best_score_is_a_false_alarm():
    point = operating_point.at_false_alarms(matches(image((NOWHERE, 0.9), (FACE, 0.8))), 0.1)
    assert (point.threshold, point.recall, point.false_alarms) == (math.inf, 0.0, 0.0)
    assert operating_point.at_false_alarms(matches(image()), 0.1).recall == 0.0


def test_weights_are_repeated_images():
    once = [image((FACE, 0.9)), image((NOWHERE, 0.8)), image((FACE, 0.7))]
    drawn = matches(once[0], once[0], once[2])
    weighted = operating_point.at_threshold(matches(*once), 0.5, np.array([2.0, 0.0, 1.0]))
    assert weighted == operating_point.at_threshold(drawn, 0.5)


def test_intervals_at_a_threshold_are_those_of_the_samples():
    compared = matches(*[image((FACE, 0.9))] * 3, *[image((NOWHERE, 0.8), (NOWHERE, 0.7), (FACE, 0.1))] * 2, image())
    weights_BP = bootstrap.weights(6)
    points = [operating_point.at_threshold(compared, 0.5, weights_P) for weights_P in weights_BP]
    recall, false_alarms = operating_point.threshold_intervals(compared, 0.5, weights_BP)
    assert recall == bootstrap.interval(np.array([point.recall for point in points]))
    assert false_alarms == bootstrap.interval(np.array([point.false_alarms for point in points]))
    assert recall.least < 0.5 < recall.most


def test_face_free_images_are_measured_separately():
    empty = np.zeros((0, 4)), np.zeros(0, bool)
    alarms = np.array([NOWHERE, NOWHERE], float), np.array([0.9, 0.4])
    nothing = np.zeros((0, 4)), np.zeros(0)
    truths = [image()[0], empty, empty, empty, empty]
    compared = coco.match_images(truths, [alarms, nothing, alarms, nothing, nothing])
    metrics = operating_point.on_face_free(compared, np.array([False, True, True, True, True]), 0.5, 0.5)
    assert (metrics.images, metrics.given.threshold, metrics.given.false_alarms) == (4, 0.5, 0.25)
    # Both detections are two false alarms in four images, the allowed number.
    assert (metrics.allowed.threshold, metrics.allowed.false_alarms) == (0.4, 0.5)
    assert 0 <= metrics.given_interval.least < 0.25 < metrics.given_interval.most <= 1
    assert math.isnan(metrics.given.recall)


@pytest.mark.parametrize("seed", range(4))
def test_interval_at_few_false_alarms_is_that_of_the_samples(seed):
    random = np.random.default_rng(seed)
    images = []
    for _ in range(40):
        # Few distinct scores, so that many are equal; more false alarms than allowed, or in the last case very few.
        boxes = [FACE] * int(random.integers(0, 2)) + [NOWHERE] * int(random.integers(0, 2 if seed == 3 else 9))
        images.append(image(*((box, float(random.integers(1, 9) / 10)) for box in boxes)))
    compared, weights_BP = matches(*images), bootstrap.weights(40, draws=100, seed=seed)
    recalls = [operating_point.at_false_alarms(compared, 0.1, weights_P).recall for weights_P in weights_BP]
    assert operating_point.false_alarms_interval(compared, 0.1, weights_BP) == bootstrap.interval(np.array(recalls))


def test_best_f1_is_the_middle_of_equally_good_thresholds():
    compared = matches(image((FACE, 0.9)), image((FACE, 0.8), (NOWHERE, 0.4)))
    # From .401 to .8 both faces are found and nothing else.
    assert operating_point.best_f1(compared, operating_point.thousandths(0.1)) == operating_point.OperatingPoint(
        0.6, 1.0, 0.0
    )


def test_separate_intervals_of_equal_f1_are_not_joined():
    # F1 is 2/3 with only the first, and with the second and the false alarm before it; the second interval is longer.
    compared = matches(image((FACE, 0.9)), image((NOWHERE, 0.85), (NOWHERE, 0.84), (FACE, 0.5)))
    point = operating_point.best_f1(compared, operating_point.thousandths(0.1))
    assert (point.recall, point.false_alarms) == (1.0, 1.0)
    assert point.threshold == 0.3
    assert operating_point.best_f1(compared, operating_point.thousandths(0.6)).threshold == 0.875


def test_best_f1_is_none_without_a_detected_face():
    assert operating_point.best_f1(matches(image((NOWHERE, 0.9))), operating_point.thousandths(0.1)) is None
    assert operating_point.best_f1(matches(image((FACE, 0.2))), operating_point.thousandths(0.3)) is None


def test_lowest_threshold_respects_rate_and_floor():
    compared = matches(image((FACE, 0.9)), image((NOWHERE, 0.6004), (FACE, 0.3)))
    assert operating_point.lowest(compared, operating_point.thousandths(0.02), 0.4).threshold == 0.601
    assert operating_point.lowest(compared, operating_point.thousandths(0.02), 0.5).threshold == 0.02
    assert operating_point.lowest(compared, operating_point.thousandths(0.0205), 0.5).threshold == 0.021
    assert operating_point.lowest(matches(image((NOWHERE, 1.0))), operating_point.thousandths(0.02), 0.5) is None


def test_precision_is_the_share_of_faces_among_accepted_detections():
    compared = matches(image((FACE, 0.9)), image((NOWHERE, 0.6), (FACE, 0.3)))
    assert operating_point.precision(compared, 0.5) == 0.5
    assert operating_point.precision(compared, 0.2) == pytest.approx(2 / 3)
    assert math.isnan(operating_point.precision(compared, 0.95))
