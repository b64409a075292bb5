"""The official protocol of WIDER FACE, against hand-computed cases and a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcycle.evaluation import wider

FACE_A, FACE_B, FACE_C = [0, 0, 20, 20], [100, 0, 130, 40], [0, 100, 15, 118]
NOWHERE = [500, 500, 540, 540]


def evaluate(faces, counted, boxes, scores):
    """One image, one level."""
    result = wider.average_precision(
        [np.array(faces, float)], {"easy": [np.array(counted, bool)]}, [(np.array(boxes, float), np.array(scores))]
    )
    return result["easy"]


def test_all_faces_found_without_false_alarms_score_one():
    result = evaluate([FACE_A, FACE_B], [1, 1], [FACE_A, FACE_B, NOWHERE], [0.9, 0.8, 0.1])
    assert (result.ap, result.faces) == (1.0, 2)


def test_false_alarm_between_two_faces():
    # Scores 0.9, 0.5, 0.1 become 1, 0.5, 0. Best first: A, nowhere, B.
    # Recall 0.5 at precision 1; recall 1 at precision 2/3. Area: 0.5 * 1 + 0.5 * 2/3.
    result = evaluate([FACE_A, FACE_B], [1, 1], [FACE_A, NOWHERE, FACE_B], [0.9, 0.5, 0.1])
    assert result.ap == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_missed_face_contributes_no_area():
    # Two of three faces are found at precision 1; nothing beyond recall 2/3.
    result = evaluate([FACE_A, FACE_B, FACE_C], [1, 1, 1], [FACE_A, FACE_B], [0.9, 0.1])
    assert result.ap == pytest.approx(2 / 3)


def test_detection_of_a_face_that_does_not_count_is_not_a_proposal():
    # B is not of this level. Best first: B (counts neither way), A. One face, one proposal.
    ignored = evaluate([FACE_A, FACE_B], [1, 0], [FACE_B, FACE_A], [0.9, 0.1])
    assert (ignored.ap, ignored.faces) == (1.0, 1)
    # If B were not a face, it would be a false alarm: precision 1/2 at recall 1.
    assert evaluate([FACE_A], [1], [FACE_B, FACE_A], [0.9, 0.1]).ap == pytest.approx(0.5)


def test_second_hit_is_a_false_alarm_unless_the_face_is_ignored():
    # Best first: A, A again (a proposal that finds nothing), B: recall 1/2 at precision 1, recall 1 at 2/3.
    twice = [FACE_A, FACE_A, FACE_B]
    assert evaluate([FACE_A, FACE_B], [1, 1], twice, [0.9, 0.5, 0.1]).ap == pytest.approx(0.5 + 0.5 * 2 / 3)
    # A does not count: both its detections are left out.
    assert evaluate([FACE_A, FACE_B], [0, 1], twice, [0.9, 0.5, 0.1]).ap == 1.0


def test_best_overlap_decides_even_if_that_face_is_taken_or_ignored():
    # The detection overlaps the ignored face fully and the counted one by 21*16 / (21*21 + 21*21 - 21*16) = 0.615.
    # It hits the ignored face and is not a proposal, so the counted face is missed.
    counted, ignored = [0, 0, 20, 20], [0, 5, 20, 25]
    result = evaluate([counted, ignored], [1, 0], [ignored, NOWHERE], [0.9, 0.1])
    assert result.ap == 0.0


def test_boxes_cover_one_pixel_more_than_their_difference():
    # 0 to 9 covers 10 pixels: 10 x 5 in 10 x 10 is 50 of 100, just enough; 9 x 4 in 9 x 9 would be 36 of 81.
    assert evaluate([[0, 0, 9, 9]], [1], [[0, 0, 9, 4], NOWHERE], [0.9, 0.1]).ap == 1.0
    assert evaluate([[0, 0, 9, 9]], [1], [[0, 0, 9, 3.9], NOWHERE], [0.9, 0.1]).ap == 0.0


def test_curve_has_only_a_thousand_thresholds():
    # Normalised: 1, 0.9995, 0.9985, 0. The first two both pass 0.999: the curve starts at precision 1/2, although the
    # best one is right. At 0.998 the third is added: recall 1 at precision 2/3, which the envelope extends.
    scores = [1.0, 0.9995, 0.9985, 0.0]
    result = evaluate([FACE_A, FACE_B], [1, 1], [FACE_A, NOWHERE, FACE_B, NOWHERE], scores)
    assert result.ap == pytest.approx(2 / 3)
    np.testing.assert_allclose(result.precision_1000[:2], [1 / 2, 2 / 3])
    np.testing.assert_allclose(result.recall_1000[:2], [1 / 2, 1])
    assert result.precision_1000[-2:].tolist() == pytest.approx([2 / 3, 2 / 4])


def test_score_equal_to_a_threshold_passes_it():
    # 0.5 is exactly the 500th threshold: one proposal at the 499th (0.501), two from the 500th.
    result = evaluate([FACE_A, FACE_B], [1, 1], [FACE_A, FACE_B, NOWHERE], [1.0, 0.5, 0.0])
    assert result.recall_1000[[498, 499]].tolist() == [0.5, 1.0]


def test_scores_are_normalised_over_the_whole_set():
    # The second image's detection has the lowest score of the set, so it comes last: 0.5 * 1 + 0.5 * 2/3.
    faces = [np.array([FACE_A], float), np.array([FACE_B], float)]
    predictions = [
        (np.array([FACE_A, NOWHERE], float), np.array([0.30, 0.29])),
        (np.array([FACE_B], float), np.array([0.28])),
    ]
    counted = {"easy": [np.array([True])] * 2}
    assert wider.average_precision(faces, counted, predictions)["easy"].ap == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_images_without_detections_count_and_images_without_faces_do_not():
    nothing = np.zeros((0, 4))
    faces = [np.array([FACE_A], float), np.array([FACE_B], float), nothing]
    counted = {"easy": [np.array([True]), np.array([True]), np.zeros(0, bool)]}
    predictions = [
        (np.array([FACE_A], float), np.array([0.5])),
        (nothing, np.zeros(0)),
        (np.array([NOWHERE, NOWHERE], float), np.array([0.9, 0.1])),
    ]
    result = wider.average_precision(faces, counted, predictions)["easy"]
    assert (result.ap, result.faces) == (0.5, 2)


def test_levels_are_independent():
    counted = {"easy": [np.array([True, False])], "hard": [np.array([True, True])]}
    found = [(np.array([FACE_A], float), np.array([0.7]))]
    result = wider.average_precision([np.array([FACE_A, FACE_B], float)], counted, found)
    assert (result["easy"].ap, result["hard"].ap) == (1.0, 0.5)


def test_level_without_faces_is_nan_and_no_detection_is_zero():
    assert math.isnan(evaluate([FACE_A], [0], [FACE_A], [0.9]).ap)
    assert evaluate([FACE_A], [1], np.zeros((0, 4)), np.zeros(0)).ap == 0.0


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="1 detections with 2 scores"):
        evaluate([FACE_A], [1], [FACE_A], [0.1, 0.2])
    with pytest.raises(ValueError, match="argument"):
        wider.average_precision([np.zeros((1, 4))], {"easy": [np.ones(1, bool)]}, [])


def plain_overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return width * height / (area_a + area_b - width * height)


def plain_image(boxes, scores, faces, counted):
    """For each threshold (proposals, faces found) of one image; boxes best first."""
    found_faces, proposal, found_so_far = set(), [], []
    for box in boxes:
        overlaps = [plain_overlap(face, box) for face in faces]
        best = overlaps.index(max(overlaps))
        is_proposal = True
        if overlaps[best] >= 0.5:
            if not counted[best]:
                is_proposal = False
            else:
                found_faces.add(best)
        proposal.append(is_proposal)
        found_so_far.append(len(found_faces))
    table = []
    for step in range(1, 1001):
        last = max((place for place, score in enumerate(scores) if score >= 1 - step / 1000), default=None)
        table.append((0, 0) if last is None else (sum(proposal[: last + 1]), found_so_far[last]))
    return table


def plain_average_precision(faces, counted, predictions):
    every_score = [score for _, scores in predictions for score in scores]
    least, span = min(every_score), max(every_score) - min(every_score)
    totals = [[0, 0] for _ in range(1000)]
    for face_boxes, marks, (boxes, scores) in zip(faces, counted, predictions, strict=True):
        if not len(face_boxes) or not len(boxes):
            continue
        order = sorted(range(len(scores)), key=lambda place: -scores[place])
        table = plain_image(
            [boxes[each] for each in order], [(scores[each] - least) / span for each in order], face_boxes, marks
        )
        for total, (proposals, found) in zip(totals, table, strict=True):
            total[0] += proposals
            total[1] += found
    number = sum(int(mark) for marks in counted for mark in marks)
    recall = [0.0, *(found / number for _, found in totals), 1.0]
    precision = [0.0, *(found / proposals if proposals else 0.0 for proposals, found in totals), 0.0]
    area = 0.0
    for place in range(1, len(recall)):
        if recall[place] != recall[place - 1]:
            area += (recall[place] - recall[place - 1]) * max(precision[place:])
    return area


@pytest.mark.parametrize("seed", range(5))
def test_random_images_agree_with_a_plain_loop(seed):
    random = np.random.default_rng(seed)
    faces, counted, predictions = [], [], []
    for _ in range(8):
        number, detections = random.integers(0, 10), random.integers(0, 25)
        corners_N2 = random.integers(0, 150, (number, 2))
        faces_N4 = np.concatenate([corners_N2, corners_N2 + random.integers(1, 80, (number, 2))], axis=1).astype(float)
        seen_M4 = faces_N4[random.integers(0, number, detections)] if number else np.ones((detections, 4)) * 30
        boxes_M4 = seen_M4 + random.integers(-6, 7, (detections, 4))
        boxes_M4[:, 2:] = np.maximum(boxes_M4[:, 2:], boxes_M4[:, :2])
        faces.append(faces_N4)
        counted.append(random.random(number) < 0.6)
        predictions.append((boxes_M4, random.integers(0, 40, detections) / 40 + 0.1))
    ours = wider.average_precision(faces, {"hard": counted}, predictions)["hard"].ap
    assert ours == pytest.approx(plain_average_precision(faces, counted, predictions), abs=1e-12)


def test_sample_has_the_precision_of_its_images():
    random = np.random.default_rng(1)
    faces = [np.array([FACE_A, FACE_B], float) for _ in range(6)]
    found = [(np.array([FACE_A, NOWHERE, FACE_B], float), random.random(3)) for _ in faces]
    # The lowest and the highest score are in the sample, so that its scores are normalised like those of the set.
    found[0] = (found[0][0], np.array([1.0, 0.0, 0.5]))
    counts = wider.count(faces, {"hard": [np.array([True, True])] * 6}, found)["hard"]
    drawn = [0, 0, 2, 3, 3, 3]
    weights_BP = np.array([np.bincount(drawn, minlength=6), np.ones(6)], float)
    given = wider.average_precision(
        [faces[each] for each in drawn], {"hard": [np.array([True, True])] * 6}, [found[each] for each in drawn]
    )["hard"]
    assert wider.drawn(counts, weights_BP) == pytest.approx([given.ap, wider.summarise(counts).ap])
