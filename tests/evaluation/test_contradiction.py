"""Contradictions in sets with known wrong labels, of a detector with high scores for large and low for small faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlcycle.evaluation.contradiction import contradictions
from mlcycle.evaluation.evidence import Case, alarms, pair

SIZE = (1000, 800)
FACE_52 = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


def _case(random):
    """Six faces in a row, the first three 120 pixels high and the others 10, of which the detector misses half."""
    sides_N = np.array([120.0, 120, 120, 10, 10, 10])
    corners_N2 = np.stack([np.arange(6) * 150 + 20, random.uniform(50, 500, 6)], axis=1)
    boxes_N4 = np.concatenate([corners_N2, corners_N2 + sides_N[:, None]], axis=1)
    found_N = (sides_N > 100) | (random.random(6) < 0.5)
    found_M4 = (boxes_N4 + random.normal(0, 0.03, (6, 4)) * sides_N[:, None])[found_N]
    scores_M = np.where(sides_N > 100, 0.95, 0.4)[found_N] + random.uniform(-0.04, 0.04, found_N.sum())
    # Realistic false alarms: many, with low scores.
    alarms_A2 = random.uniform((0, 650), (700, 700), (4, 2))
    found_M4 = np.concatenate(
        [found_M4, np.concatenate([alarms_A2, alarms_A2 + random.uniform(10, 90, (4, 1))], axis=1)]
    )
    scores_M = np.append(scores_M, random.uniform(0.05, 0.2, 4))
    return Case(
        boxes_N4=boxes_N4,
        ignore_N=np.zeros(6, bool),
        points_N52=_points(boxes_N4) + random.normal(0, 0.01, (6, 5, 2)) * sides_N[:, None, None],
        found_M4=found_M4,
        scores_M=scores_M,
        found_points_M52=_points(found_M4),
        size=SIZE,
    )


def _points(boxes_N4):
    return boxes_N4[:, None, :2] + FACE_52 * (boxes_N4[:, None, 2:] - boxes_N4[:, None, :2])


@pytest.fixture
def cases():
    random = np.random.default_rng(7)
    return [_case(random) for _ in range(40)]


def _with_box(case, row, box_4):
    boxes_N4 = case.boxes_N4.copy()
    boxes_N4[row] = box_4
    return replace(case, boxes_N4=boxes_N4)


def _without(case, row):
    kept = np.arange(6) != row
    return replace(case, boxes_N4=case.boxes_N4[kept], ignore_N=case.ignore_N[kept], points_N52=case.points_N52[kept])


def test_each_kind_of_error_comes_first_with_its_kind(cases):
    cases[3] = _without(cases[3], 1)
    cases[5] = _with_box(cases[5], 0, cases[5].boxes_N4[0] + [45, 0, 45, 0])
    cases[7] = _with_box(cases[7], 2, cases[7].boxes_N4[2] + [-40, -40, 40, 40])
    cases[9] = _with_box(cases[9], 1, [700, 660, 820, 780])
    cases[11].points_N52[0] = cases[11].points_N52[0][[1, 0, 2, 4, 3]]
    no_points = [replace(each, points_N52=np.full_like(each.points_N52, np.nan)) for each in cases]
    listed = contradictions([*no_points[:11], cases[11], *cases[12:]])
    # The face whose box was moved has no label either.
    first = {(each.case, each.label, each.kind) for each in listed[:6]}
    assert first == {
        (3, -1, "no label"),
        (5, 0, "other box"),
        (7, 2, "other box"),
        (9, 1, "no face"),
        (9, -1, "no label"),
        (11, 0, "other points"),
    }
    assert all(each.bits > 3 for each in listed[:6])


def test_missed_large_face_has_more_bits_than_a_small_one(cases):
    at = next(number for number, case in enumerate(cases) if (pair(case) < 0).any())
    found = pair(cases[at])
    large, small = 0, int(np.flatnonzero(found < 0)[0])
    kept = np.arange(len(cases[at].scores_M)) != found[large]
    cases[at] = replace(
        cases[at],
        found_M4=cases[at].found_M4[kept],
        scores_M=cases[at].scores_M[kept],
        found_points_M52=cases[at].found_points_M52[kept],
    )
    bits = {(each.case, each.label): each.bits for each in contradictions(cases)}
    assert small >= 3
    assert bits[at, large] > 3
    assert bits[at, small] < 1.5


def test_height_is_measured_in_the_networks_input(cases):
    """The same labels on images that are reduced ten times for the network."""
    before = contradictions(cases)
    larger = [
        replace(
            each,
            boxes_N4=each.boxes_N4 * 10,
            points_N52=each.points_N52 * 10,
            found_M4=each.found_M4 * 10,
            found_points_M52=each.found_points_M52 * 10,
            size=(10_000, 8_000),
            shrink=0.1,
        )
        for each in cases
    ]
    after = contradictions(larger)
    assert [(each.case, each.label, each.found) for each in before[:20]] == [
        (each.case, each.label, each.found) for each in after[:20]
    ]
    assert before[0].bits == pytest.approx(after[0].bits, rel=1e-6)


def test_ignored_regions_and_second_boxes_are_no_contradictions(cases):
    case = cases[0]
    ignored = replace(case, ignore_N=np.arange(6) == 0)
    listed = [each for each in contradictions([ignored, *cases[1:]]) if each.case == 0]
    assert 0 not in {each.label for each in listed}
    found = int(pair(case)[0])
    assert found not in {each.found for each in listed}
    second = replace(
        case,
        found_M4=np.concatenate([case.found_M4, case.boxes_N4[:1] + 30]),
        scores_M=np.append(case.scores_M, 0.9),
        found_points_M52=np.concatenate([case.found_points_M52, case.points_N52[:1]]),
    )
    assert len(second.scores_M) - 1 not in alarms([second], [pair(second)]).found_A


def test_list_is_deterministic_and_accepts_empty_images(cases):
    assert contradictions(cases) == contradictions(cases)
    nothing = Case(np.zeros((0, 4)), np.zeros(0, bool), np.zeros((0, 5, 2)), np.zeros((0, 4)), np.zeros(0), None, SIZE)
    assert contradictions([]) == contradictions([nothing]) == []
    blind = replace(cases[0], found_M4=np.zeros((0, 4)), scores_M=np.zeros(0), found_points_M52=None)
    assert {each.kind for each in contradictions([blind, nothing])} == {"no face"}
