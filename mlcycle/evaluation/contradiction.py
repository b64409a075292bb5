"""Measures how strongly a detector contradicts each label of a set, with one measure for all kinds of label errors.

A label may be wrong because no face is there, because its box has another place or size, or because its points are
wrong; and a face may have no label. The measure is the logarithm of a likelihood ratio, in bits: at 5 bits the
detector's output is 32 times as frequent for labels with this error as for the labels of this set.

- *no face*, *other box*: the evidence is the best box near the label, its score, its overlap, and the height of the
  label in the network's input. A logistic regression separates the labels of the set from copies that are corrupted at
  random (mlcycle.evaluation.evidence); its odds are the ratio. So the measure learns that a missed face of 8 pixels is
  normal and a missed face of 100 is not.
- *other points*: the same, from the distances of labelled and predicted points, and from points outside of the box.
- *no label*: the odds that a detection of this score and height has a label, by a logistic regression over all
  detections of the set: its calibrated score.

A set is compared with itself, so an error that most of its labels have is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation import evidence
from mlcycle.evaluation.evidence import Alarms, Case, Evidence

NO_FACE, OTHER_BOX, OTHER_POINTS, NO_LABEL = KINDS = ("no face", "other box", "other points", "no label")
LEAST_SCORE = 1e-3
MOST_ODDS = 2.0**20
# The random seed is fixed. In a small set each label is corrupted several times.
SEED, ENOUGH, MOST_TIMES = 0, 2000, 20

Corrupt = Callable[[Sequence[Case], Sequence[np.ndarray], np.random.Generator], Evidence]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One label, or one detection without a label, and how strongly the detector contradicts it.

    Attributes:
        case: index of its image.
        label: its row among the image's labels; -1 for "no label".
        found: the row of the detection of the same face, or -1.
        kind: one of KINDS, the most likely.
        bits: log2 of the ratio.
        overlap: of label and detection (intersection over union), or 0.
        score: of the detection, or 0.
    """

    case: int
    label: int
    found: int
    kind: str
    bits: float
    overlap: float
    score: float


def contradictions(cases: Sequence[Case]) -> list[Contradiction]:
    """Returns a contradiction for each label that counts and each detection without a label, strongest first."""
    random = np.random.default_rng(SEED)
    pairs = [evidence.pair(case) for case in cases]
    labels, alarms = evidence.of_labels(cases, pairs), evidence.alarms(cases, pairs)
    times = min(max(ENOUGH // max(len(labels.case_L), 1), 1), MOST_TIMES)

    def corrupted(by: Corrupt) -> Evidence:
        return evidence.joined([by(cases, pairs, random) for _ in range(times)])

    box_LF = _box_features(labels)
    odds_KL = np.stack(
        [
            _odds(box_LF, _box_features(corrupted(evidence.of_random_boxes))),
            _odds(box_LF, _box_features(corrupted(evidence.of_moved_boxes))),
            _point_odds(labels, corrupted(evidence.of_moved_points)),
        ]
    )
    rows = [*_label_rows(labels, odds_KL), *_alarm_rows(alarms, _labelled_odds(labels, alarms))]
    return sorted(rows, key=lambda row: (-row.bits, row.case, row.label, row.found))


def _box_features(labels: Evidence) -> np.ndarray:
    """Returns the features for the odds of a wrong box: height, and score and overlap of the detection."""
    found_L, height_L = (labels.found_L >= 0).astype(float), _height(labels.height_L)
    score_L, fit_L = _logit(labels.score_L), labels.overlap_L
    of_found_FL = np.stack(
        [
            np.ones_like(height_L),
            height_L,
            score_L,
            score_L * height_L,
            score_L**2,
            fit_L,
            fit_L**2,
            fit_L * score_L,
            fit_L * height_L,
            fit_L**2 * height_L,
            fit_L * score_L * height_L,
        ]
    )
    return np.concatenate([[np.ones_like(height_L), height_L, height_L**2], of_found_FL * found_L]).T


def _point_features(labels: Evidence) -> np.ndarray:
    off_L, outside_L = np.nan_to_num(labels.off_L), np.minimum(np.nan_to_num(labels.outside_L), 1)
    seen_L, height_L = np.isfinite(labels.off_L).astype(float), _height(labels.height_L)
    near_L = np.log2(off_L + 0.02) * seen_L
    columns = [np.ones_like(off_L), seen_L, near_L, near_L**2, near_L * height_L, seen_L * height_L, outside_L]
    return np.stack([*columns, outside_L > 0], axis=1)


def _point_odds(labels: Evidence, others: Evidence) -> np.ndarray:
    """Returns the odds that points are wrong; 0 for labels without points."""
    pointed_L, pointed_S = np.isfinite(labels.outside_L), np.isfinite(others.outside_L)
    odds_L = np.zeros(len(pointed_L))
    odds_L[pointed_L] = _odds(_point_features(labels)[pointed_L], _point_features(others)[pointed_S])
    return odds_L


def _odds(original_LF: np.ndarray, corrupted_SF: np.ndarray) -> np.ndarray:
    """Returns the likelihood ratio of each label's evidence, corrupted to original labels: float64, [L]."""
    if not len(original_LF) or not len(corrupted_SF):
        return np.zeros(len(original_LF))
    is_corrupted_D = np.repeat([0.0, 1.0], [len(original_LF), len(corrupted_SF)])
    weights_F = _logistic(np.concatenate([original_LF, corrupted_SF]), is_corrupted_D)
    odds_L = np.exp(np.clip(original_LF @ weights_F, -30, 30)) * len(original_LF) / len(corrupted_SF)
    return np.minimum(odds_L, MOST_ODDS)


def _labelled_odds(labels: Evidence, alarms: Alarms) -> np.ndarray:
    """Returns for each detection without a label the odds that a similar one has a label: float64, [A]."""
    found_L = labels.found_L >= 0
    score_D = _logit(np.concatenate([labels.score_L[found_L], alarms.score_A]))
    height_D = _height(np.concatenate([labels.height_L[found_L], alarms.height_A]))
    features_DF = np.stack([np.ones_like(score_D), score_D, height_D, score_D * height_D, height_D**2], axis=1)
    has_label_D = np.repeat([1.0, 0.0], [found_L.sum(), len(alarms.score_A)])
    weights_F = _logistic(features_DF, has_label_D)
    return np.exp(np.clip(features_DF[found_L.sum() :] @ weights_F, -30, np.log(MOST_ODDS)))


def _logistic(features_DF: np.ndarray, is_positive_D: np.ndarray, steps: int = 20, ridge: float = 1.0) -> np.ndarray:
    """Returns the weights of a logistic regression with a small ridge penalty, by Newton's method."""
    weights_F = np.zeros(features_DF.shape[1])
    ridge_FF = ridge * np.eye(len(weights_F))
    for _ in range(steps):
        probability_D = 1 / (1 + np.exp(-np.clip(features_DF @ weights_F, -30, 30)))
        gradient_F = features_DF.T @ (is_positive_D - probability_D) - ridge * weights_F
        hessian_FF = (features_DF * (probability_D * (1 - probability_D))[:, None]).T @ features_DF + ridge_FF
        weights_F = weights_F + np.linalg.solve(hessian_FF, gradient_F)
    return weights_F


def _logit(scores: np.ndarray) -> np.ndarray:
    scores = np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)
    return np.log(scores / (1 - scores))


def _height(pixels: np.ndarray) -> np.ndarray:
    """Returns heights in octaves above 32 pixels."""
    return np.log2(np.maximum(pixels, 1)) - 5


def _label_rows(labels: Evidence, odds_KL: np.ndarray) -> list[Contradiction]:
    # "No face" and "other box" are equally likely a priori; wrong points are independent of them.
    box_L = odds_KL[:2].mean(axis=0)
    bits_L = np.log2(np.maximum(np.maximum(box_L, odds_KL[2]), 1 / MOST_ODDS))
    # Without a detection there is no evidence for another box.
    kind_L = np.where(labels.found_L < 0, 0, odds_KL[:2].argmax(axis=0))
    kind_L = np.where(odds_KL[2] > box_L, 2, kind_L)
    columns = (labels.case_L, labels.row_L, labels.found_L, kind_L, bits_L, labels.overlap_L, labels.score_L)
    return [
        Contradiction(int(case), int(row), int(found), KINDS[kind], float(bits), float(overlap), float(score))
        for case, row, found, kind, bits, overlap, score in zip(*columns, strict=True)
    ]


def _alarm_rows(alarms: Alarms, odds_A: np.ndarray) -> list[Contradiction]:
    columns = (alarms.case_A, alarms.found_A, np.log2(odds_A), alarms.score_A)
    return [
        Contradiction(int(case), -1, int(found), NO_LABEL, float(bits), 0.0, float(score))
        for case, found, bits, score in zip(*columns, strict=True)
    ]
