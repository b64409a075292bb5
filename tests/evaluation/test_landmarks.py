"""Landmark errors of detected faces, as shares of the face's size."""

from __future__ import annotations

import numpy as np
import pytest

from mlcycle.evaluation import coco, landmarks

NAMES = ("left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner")
# 40 x 90 pixels: the size is 60.
FACE = np.array([100, 100, 140, 190], float)
POINTS_52 = np.array([[110, 120], [130, 120], [120, 140], [112, 160], [128, 160]], float)
NONE_52 = np.full((5, 2), np.nan)


def measured(faces, found, threshold=0.5):
    """`faces` are (box, points, ignored) of one image, `found` (box, points, score)."""
    boxes_N4, points_N52, ignore_N = (np.array([each[part] for each in faces]) for part in range(3))
    found_M4, found_M52, scores_M = (np.array([each[part] for each in found]) for part in range(3))
    matches = coco.match_images([(boxes_N4, ignore_N)], [(found_M4, scores_M)])
    image = landmarks.ImageLandmarks(boxes_N4, points_N52, ~ignore_N.astype(bool), found_M52)
    return landmarks.measure(matches, [image], NAMES, threshold)


def test_error_is_a_share_of_the_face_size():
    moved_52 = POINTS_52 + np.array([[3, 4], [0, 0], [0, 0], [0, 0], [0, 12]])
    result = measured([(FACE, POINTS_52, False)], [(FACE, moved_52, 0.9)])
    assert result.by_point["left_eye"] == pytest.approx(5 / 60)
    assert result.by_point["right_mouth_corner"] == pytest.approx(12 / 60)
    assert result.mean == pytest.approx((5 + 12) / 5 / 60)
    assert (result.faces, result.labelled, result.good) == (1, 1, 1.0)


def test_each_detection_is_compared_with_its_matched_face():
    other = FACE + 300
    faces = [(FACE, POINTS_52, False), (other, POINTS_52 + 300, False)]
    result = measured(faces, [(other, POINTS_52 + 300, 0.7), (FACE + 1, POINTS_52 + 6, 0.9)])
    assert result.faces == 2
    assert result.mean == pytest.approx(np.hypot(6, 6) / 60 / 2)
    # One of the two is off by more than a tenth of its size.
    assert result.good == 0.5


def test_unlabelled_points_and_missed_faces_are_left_out():
    some_52 = np.where(np.arange(5)[:, None] < 3, POINTS_52, np.nan)
    faces = [(FACE, some_52, False), (FACE + 300, POINTS_52 + 300, False), (FACE + 600, NONE_52, False)]
    found = [(FACE, POINTS_52 + np.array([6, 0]), 0.9), (FACE + 300, POINTS_52, 0.4), (FACE + 600, POINTS_52, 0.9)]
    result = measured(faces, found)
    assert (result.faces, result.labelled) == (1, 2)
    assert result.mean == pytest.approx(0.1)
    assert np.isnan(result.by_point["left_mouth_corner"])
    assert measured(faces, found, threshold=0.3).faces == 2


def test_ignored_faces_do_not_count_and_no_labelled_landmarks_give_none():
    assert measured([(FACE, POINTS_52, True)], [(FACE, POINTS_52, 0.9)]) is None
    assert measured([(FACE, NONE_52, False)], [(FACE, POINTS_52, 0.9)]) is None


def test_error_is_nan_without_a_detected_face():
    result = measured([(FACE, POINTS_52, False)], [(FACE + 500, POINTS_52, 0.9)])
    assert (result.faces, result.labelled) == (0, 1)
    assert np.isnan(result.mean)
    assert np.isnan(result.good)
    assert np.isnan(result.mean_interval.most)
