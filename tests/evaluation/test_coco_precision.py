"""COCO's average precision: equal to pycocotools on random images."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest

from mlcycle.evaluation import bootstrap, coco, sizes

NOTHING = (np.zeros((0, 4)), np.zeros(0))


def truth(*boxes, ignore=()):
    boxes_N4 = np.array(boxes, float).reshape(-1, 4)
    return boxes_N4, np.isin(np.arange(len(boxes_N4)), ignore)


def annotations(images, second, measure):
    """Returns (boxes, marks or scores) as COCO annotations. Their `area` is only used for ranges of sizes."""
    rows = []
    for image, (boxes_N4, values_N) in enumerate(images):
        for (left, top, right, bottom), value in zip(boxes_N4.tolist(), values_N.tolist(), strict=True):
            width, height = right - left, bottom - top
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image + 1,
                    "category_id": 1,
                    "bbox": [left, top, width, height],
                    "area": width * height if measure == "area" else height,
                    "iscrowd": 0,
                    second: int(value) if second == "iscrowd" else value,
                }
            )
    return rows


def independent(truths, predictions, max_detections, ranges=sizes.BY_AREA, measure="area"):
    """Precision [T, 101, ranges] from pycocotools, or from faster-coco-eval if that is installed."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    except ImportError:
        package = pytest.importorskip("faster_coco_eval")
        COCO, Evaluation = package.COCO, package.COCOeval_faster

    def data_set(rows):
        labelled = COCO()
        images = [{"id": number + 1} for number in range(len(truths))]
        labelled.dataset = {"images": images, "categories": [{"id": 1, "name": "face"}], "annotations": rows}
        labelled.createIndex()
        return labelled

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = Evaluation(
            data_set(annotations(truths, "iscrowd", measure)),
            data_set(annotations(predictions, "score", measure)),
            "bbox",
        )
        evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.params.areaRng = [[size.least, size.most] for size in (sizes.ALL, *ranges)]
        evaluation.params.areaRngLbl = [size.name for size in (sizes.ALL, *ranges)]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, 0, :, 2]


def assert_agrees(truths, predictions, max_detections, ranges=sizes.BY_AREA, measure="area"):
    theirs = independent(truths, predictions, max_detections, ranges, measure)
    ours = coco.average_precision(truths, predictions, max_detections=max_detections, ranges=ranges)
    for place, part in enumerate([ours, *ours.by_size.values()]):
        np.testing.assert_allclose(np.nan_to_num(part.precision_T101, nan=-1), theirs[..., place], rtol=0, atol=1e-6)
        if part.faces:
            assert part.ap == pytest.approx(theirs[..., place].mean(), abs=1e-6)
            assert part.ap50 == pytest.approx(theirs[0, :, place].mean(), abs=1e-6)
            assert part.ap75 == pytest.approx(theirs[5, :, place].mean(), abs=1e-6)


def random_images(seed, images=12, ignored=0.25):
    """Whole pixels and few different scores, so that overlaps and scores are often equal."""
    random = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(images):
        faces, detections = random.integers(0, 14), random.integers(0, 40)
        corners_N2 = random.integers(0, 220, (faces, 2))
        boxes_N4 = np.concatenate([corners_N2, corners_N2 + random.integers(2, 130, (faces, 2))], axis=1).astype(float)
        seen_M4 = boxes_N4[random.integers(0, faces, detections)] if faces else random.integers(0, 99, (detections, 4))
        moved_M4 = seen_M4 + random.integers(-8, 9, (detections, 4))
        moved_M4[:, 2:] = np.maximum(moved_M4[:, 2:], moved_M4[:, :2] + 1)
        truths.append((boxes_N4, random.random(faces) < ignored))
        predictions.append((moved_M4.astype(float), random.integers(1, 20, detections) / 20))
    return truths, predictions


@pytest.mark.parametrize("seed", range(12))
def test_random_images_agree_with_an_independent_evaluation(seed):
    assert_agrees(*random_images(seed), max_detections=15 if seed % 2 else 100)


@pytest.mark.parametrize("seed", range(4))
def test_sizes_by_height_agree_with_an_independent_evaluation(seed):
    assert_agrees(*random_images(seed), max_detections=100, ranges=sizes.BY_HEIGHT, measure="height")


def test_crowd_with_many_detections_agrees_with_an_independent_evaluation():
    random = np.random.default_rng(7)
    corners_N2 = random.random((150, 2)) * 900
    boxes_N4 = np.concatenate([corners_N2, corners_N2 + 4 + random.random((150, 1)) * 60], axis=1)
    found_M4 = np.concatenate([boxes_N4 + random.normal(0, 2, boxes_N4.shape) for _ in range(3)])
    found_M4[:, 2:] = np.maximum(found_M4[:, 2:], found_M4[:, :2] + 1)
    images = [(boxes_N4, random.random(150) < 0.1), truth((10, 10, 50, 60)), truth()]
    detections = [(found_M4.astype(np.float32).astype(float), random.random(450)), NOTHING, (found_M4[:5], np.ones(5))]
    assert_agrees(images, detections, max_detections=300)


def test_detections_equal_to_the_truth_score_one():
    images = [truth((0, 0, 10, 12), (30, 30, 90, 99)), truth((5, 5, 8, 8))]
    result = coco.average_precision(images, [(boxes, np.full(len(boxes), 0.5)) for boxes, _ in images])
    assert (result.ap, result.ap50, result.faces, result.images) == (1.0, 1.0, 3, 2)


def test_missed_image_lowers_recall():
    # One of two faces is found, without a false alarm: precision 1 at the recalls 0 … 0.50 (51 of 101), else 0.
    result = coco.average_precision([truth((0, 0, 9, 9))] * 2, [(np.array([[0, 0, 9, 9]]), np.array([0.9])), NOTHING])
    assert result.ap == pytest.approx(51 / 101)


def test_detection_in_an_ignored_region_counts_neither_way():
    image = [truth((0, 0, 20, 20), (100, 100, 300, 300), ignore=[1])]
    on_the_face = np.array([[0, 0, 20, 20]])
    # Three better scored detections lie inside the region; each covers only a small part of it.
    inside = np.array([[110, 110, 130, 130], [110, 110, 130, 130], [200, 200, 240, 240]])
    found = (np.concatenate([inside, on_the_face]), np.array([0.9, 0.9, 0.8, 0.1]))
    assert coco.average_precision(image, [found]).ap == 1.0
    outside = (np.concatenate([inside - 100, on_the_face]), found[1])
    assert coco.average_precision(image, [outside]).ap < 0.5


def test_second_detection_of_a_face_is_a_false_alarm():
    # Best first: right, wrong, right. Precision 1 at recalls to 0.50 (51 of 101) and 2/3 beyond (50 of 101).
    image = [truth((0, 0, 10, 10), (50, 50, 60, 60))]
    found = (np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]]), np.array([0.9, 0.8, 0.7]))
    assert coco.average_precision(image, [found]).ap == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_only_the_best_detections_count_up_to_the_limit():
    boxes_N4 = np.arange(120)[:, None] * 20.0 + np.array([0, 0, 10, 10])
    scores_N = np.linspace(0.1, 0.9, 120)
    faces = [(boxes_N4, np.zeros(120, bool))]
    assert coco.average_precision(faces, [(boxes_N4, scores_N)]).ap == pytest.approx(84 / 101)
    assert coco.average_precision(faces, [(boxes_N4, scores_N)], max_detections=120).ap == 1.0


def test_height_ranges_meet_at_their_limits():
    boxes_N4 = np.array([[0, 0, 9, 15.9], [0, 50, 9, 66], [0, 100, 9, 131.9], [0, 200, 9, 232], [0, 300, 9, 396]])
    result = coco.average_precision([(boxes_N4, np.zeros(5, bool))], [NOTHING])
    assert [result.by_size[size.name].faces for size in sizes.BY_HEIGHT] == [1, 2, 1, 1]


def test_metrics_without_a_face_are_nan():
    result = coco.average_precision([truth((0, 0, 9, 9), ignore=[0])], [(np.array([[0, 0, 9, 9]]), np.array([0.9]))])
    assert math.isnan(result.ap)
    assert result.faces == 0
    assert math.isnan(coco.average_precision([], []).ap)


def test_image_of_weight_two_equals_the_image_given_twice():
    truths, predictions = random_images(3, images=5)
    # In COCO the order of images decides between equal scores, and a weight of 2 means two adjacent copies.
    predictions = [
        (boxes, scores + np.arange(len(scores)) * 1e-6 + place) for place, (boxes, scores) in enumerate(predictions)
    ]
    drawn = [0, 0, 2, 4, 4, 4]
    given = coco.average_precision([truths[each] for each in drawn], [predictions[each] for each in drawn])
    weights_P = np.bincount(drawn, minlength=5).astype(float)
    weighted = coco.summarise(coco.match_images(truths, predictions), weights_P)
    assert weighted.faces == given.faces
    assert weighted.ap == pytest.approx(given.ap, abs=0.02)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="1 images have truths and 0 have predictions"):
        coco.average_precision([truth()], [])
    with pytest.raises(ValueError, match="1 detections with 2 scores"):
        coco.average_precision([truth()], [(np.ones((1, 4)), np.ones(2))])


@pytest.mark.parametrize("seed", range(3))
def test_batched_samples_have_nearly_the_precision_of_single_ones(seed):
    matches = coco.match_images(*random_images(seed, images=20))
    weights_BP = bootstrap.weights(20, draws=30, seed=seed)
    ap_B, ap50_B = coco.drawn(matches, weights_BP)
    alone = [coco.summarise(matches, weights_P) for weights_P in weights_BP]
    np.testing.assert_allclose(ap_B, [each.ap for each in alone], atol=5e-3)
    np.testing.assert_allclose(ap50_B, [each.ap50 for each in alone], atol=5e-3)


def test_sample_without_a_face_has_no_precision():
    matches = coco.match_images([truth((0, 0, 9, 9)), truth()], [NOTHING, NOTHING])
    assert np.isnan(coco.drawn(matches, np.array([[0.0, 2.0], [1.0, 1.0]]))[0]).tolist() == [True, False]
