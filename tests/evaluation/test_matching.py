"""Matching in rounds equals matching one detection after the other."""

from __future__ import annotations

import numpy as np
import pytest

from mlcycle.evaluation import coco, matches, matching

THRESHOLDS = np.array([0.5, 0.75])


def plain_match(overlap_MN, ignore_N, aside_N, threshold):
    """COCO's rule as a loop: each detection is compared with all truths, those that count first."""
    taken, free = [], [True] * len(ignore_N)
    order = [*np.flatnonzero(~aside_N), *np.flatnonzero(aside_N)]
    for overlap_N in overlap_MN:
        best, chosen = threshold, -1
        for truth in order:
            if not free[truth] or overlap_N[truth] < best:
                continue
            if chosen >= 0 and not aside_N[chosen] and aside_N[truth]:
                break
            best, chosen = overlap_N[truth], truth
        if chosen >= 0 and not ignore_N[chosen]:
            free[chosen] = False
        taken.append(chosen)
    return taken


@pytest.mark.parametrize("seed", range(20))
def test_rounds_agree_with_a_plain_loop(seed):
    random = np.random.default_rng(seed)
    detections, truths = int(random.integers(1, 30)), int(random.integers(1, 12))
    # Few distinct overlaps, so that many are equal; most truths overlap several detections.
    overlap_MN = random.integers(0, 11, (detections, truths)) / 10 * (random.random((detections, truths)) < 0.4)
    ignore_N = random.random(truths) < 0.2
    aside_RN = np.array([ignore_N, ignore_N | (random.random(truths) < 0.4)])
    detection_K, truth_K = np.nonzero(overlap_MN >= THRESHOLDS[0])
    pairs = matching.Pairs(detection_K, truth_K, overlap_MN[detection_K, truth_K])
    taken_RTM = matching.match(pairs, detections, ignore_N, aside_RN, THRESHOLDS)
    for aside_N, taken_TM in zip(aside_RN, taken_RTM, strict=True):
        for threshold, taken_M in zip(THRESHOLDS, taken_TM, strict=True):
            assert taken_M.tolist() == plain_match(overlap_MN, ignore_N, aside_N, threshold)


def test_long_chain_of_competing_detections():
    # Detection i overlaps faces i and i + 1, the latter more; each takes its second face, along the whole chain.
    number = 50
    detection_K = np.repeat(np.arange(number), 2)
    truth_K = detection_K + np.tile([0, 1], number)
    pairs = matching.Pairs(detection_K, truth_K, np.tile([0.6, 0.9], number))
    nothing = np.zeros(number + 1, bool)
    taken_RTM = matching.match(pairs, number, nothing, nothing[None], THRESHOLDS[:1])
    assert taken_RTM[0, 0].tolist() == list(range(1, number + 1))


def test_images_matched_in_batches_are_one_set(monkeypatch):
    random = np.random.default_rng(3)
    truths, found = [], []
    for number in range(7):
        corners_N2 = random.integers(0, 200, (number, 2))
        boxes_N4 = np.concatenate([corners_N2, corners_N2 + 30], axis=1).astype(float)
        truths.append((boxes_N4, random.random(number) < 0.2))
        found.append(
            (np.repeat(boxes_N4, 2, axis=0) + random.integers(-9, 9, (2 * number, 4)), random.random(2 * number))
        )
    whole = coco.match_images(truths, found)
    monkeypatch.setattr(matches, "IMAGES_AT_ONCE", 2)
    parts = coco.match_images(truths, found)
    for name in ("scores_D", "image_D", "row_D", "face_D", "right_RTD", "wrong_RTD", "faces_RP"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    hits = np.flatnonzero(whole.right_RTD[0, 0])
    assert len(hits)
    for hit in hits:
        image = whole.image_D[hit]
        box_4 = found[image][0][whole.row_D[hit]]
        face_4 = truths[image][0][whole.face_D[hit]]
        assert matching.overlaps(box_4[None], face_4[None], np.zeros(1, bool)) >= 0.5
        assert found[image][1][whole.row_D[hit]] == whole.scores_D[hit]
