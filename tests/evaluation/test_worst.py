"""The worst mistakes, and the hardest groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcycle.evaluation import coco, groups, worst

SMALL, LARGE, WIDE = [0, 0, 10, 10], [100, 100, 200, 200], [300, 0, 400, 50]
NOWHERE = [600, 600, 700, 700]


def compared(*images):
    """Each image is (faces, ignored, found boxes, scores)."""
    truths = [(np.array(faces, float).reshape(-1, 4), np.array(ignored, bool)) for faces, ignored, _, _ in images]
    found = [(np.array(boxes, float).reshape(-1, 4), np.array(scores)) for _, _, boxes, scores in images]
    return coco.match_images(truths, found), truths


def test_largest_missed_faces_come_first_with_their_score():
    matches, truths = compared(
        ([SMALL, LARGE], [0, 0], [LARGE], [0.3]), ([SMALL, WIDE], [0, 0], [SMALL, NOWHERE], [0.9, 0.8])
    )
    misses = worst.misses(matches, truths, 0.5, limit=9)
    assert [(miss.image, miss.face) for miss in misses] == [(0, 1), (1, 1), (0, 0)]
    assert misses[0].score == 0.3
    assert math.isnan(misses[1].score)
    assert misses[0].box_4.tolist() == LARGE
    assert len(worst.misses(matches, truths, 0.5, limit=2)) == 2
    assert [miss.face for miss in worst.misses(matches, truths, 0.2, limit=9)] == [1, 0]


def test_ignored_face_is_not_missed_and_detections_in_it_are_not_false_alarms():
    matches, truths = compared(([LARGE], [1], [[110, 110, 150, 150], NOWHERE], [0.9, 0.6]))
    assert worst.misses(matches, truths, 0.5, limit=9) == []
    assert [(alarm.row, alarm.score) for alarm in worst.false_alarms(matches, limit=9)] == [(1, 0.6)]


def test_false_alarms_come_by_score_with_their_original_row():
    # The detections are not sorted: rows refer to the image's own list.
    matches, _ = compared(([LARGE], [0], [NOWHERE, LARGE, LARGE], [0.5, 0.9, 0.7]), ([], [], [SMALL, WIDE], [0.1, 0.8]))
    alarms = worst.false_alarms(matches, limit=3)
    assert [(alarm.image, alarm.row, alarm.score) for alarm in alarms] == [(1, 1, 0.8), (0, 2, 0.7), (0, 0, 0.5)]


def test_groups_are_measured_separately_hardest_first():
    matches, _ = compared(
        ([SMALL], [0], [SMALL], [0.9]),
        ([LARGE], [0], [NOWHERE, LARGE], [0.9, 0.4]),
        ([WIDE, LARGE], [0, 0], [WIDE], [0.6]),
        ([], [], [], []),
    )
    result = groups.by_group(matches, ["easy", "hard", "hard", "empty"], 0.5)
    assert [(each.name, each.images, each.faces) for each in result] == [
        ("hard", 2, 3), ("easy", 1, 1), ("empty", 1, 0)
    ]  # fmt: skip
    assert result[1].ap50 == 1.0
    assert math.isnan(result[2].ap50)
    # Best first: the false alarm, then two of three faces. Precision 2/3 at recalls to 0.66 (67 of 101).
    assert result[0].ap50 == pytest.approx(2 / 3 * 67 / 101)
    assert result[0].recall == pytest.approx(1 / 3)


def test_set_without_groups_has_none():
    matches, _ = compared(([SMALL], [0], [SMALL], [0.9]), ([], [], [], []))
    assert groups.by_group(matches, ["", ""], 0.5) == []
