"""Temporal smoothing: a face missed in some frames is covered at its interpolated position."""

from __future__ import annotations

import numpy as np
import pytest

from mlcycle.inference.video.temporal_smoothing import REACH, smooth_boxes

NONE_04 = np.zeros((0, 4), np.float32)


def moving(count: int, step: float = 20, missed: tuple[int, ...] = (), x: float = 100) -> list[np.ndarray]:
    """Returns boxes of a face of 40 x 50 pixels that moves to the right, except in the missed frames."""
    at = [np.array([[x + step * row, 10, x + 40 + step * row, 60]], np.float32) for row in range(count)]
    return [NONE_04 if row in missed else box_14 for row, box_14 in enumerate(at)]


def test_detections_are_unchanged() -> None:
    found = moving(20)
    assert [each.tolist() for each in smooth_boxes(found)] == [each.tolist() for each in found]


@pytest.mark.parametrize("missed", [(5,), (5, 6, 7), (4, 5, 6, 7, 8, 9), (2, 8, 14)])
def test_a_face_missed_and_found_again_is_interpolated(missed: tuple[int, ...]) -> None:
    for covered, true in zip(smooth_boxes(moving(20, missed=missed)), moving(20), strict=True):
        assert covered == pytest.approx(true, abs=1e-3)


def test_a_face_is_covered_before_its_first_and_after_its_last_detection() -> None:
    found = [*[NONE_04] * 10, *moving(10), *[NONE_04] * 10]
    covered = [len(each) for each in smooth_boxes(found)]
    assert covered == [0] * (10 - REACH) + [1] * (10 + 2 * REACH) + [0] * (10 - REACH)


def test_neighbouring_faces_are_not_confused() -> None:
    one, other = moving(12, step=2, missed=(5,), x=100), moving(12, step=-2, missed=(6,), x=160)
    both = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    covered = smooth_boxes(both)
    assert [len(each) for each in covered] == [2] * 12
    assert sorted(covered[5][:, 0].tolist()) == pytest.approx([110, 150])
    assert sorted(covered[6][:, 0].tolist()) == pytest.approx([112, 148])


def test_a_distant_face_or_one_of_another_size_is_a_new_face() -> None:
    far = [moving(1)[0], NONE_04, moving(1)[0] + 300]
    assert [len(each) for each in smooth_boxes(far)] == [2, 2, 2]
    large = [moving(1)[0], NONE_04, np.array([[60, 0, 180, 150]], np.float32)]
    assert [len(each) for each in smooth_boxes(large)] == [2, 2, 2]


def test_boxes_without_area_and_videos_without_faces_are_accepted() -> None:
    assert [len(each) for each in smooth_boxes([NONE_04] * 3)] == [0, 0, 0]
    assert smooth_boxes([]) == []
    point = np.array([[5, 5, 5, 5]], np.float32)
    assert all(np.isfinite(each).all() for each in smooth_boxes([point, NONE_04, point]))
