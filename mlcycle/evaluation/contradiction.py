"""How strongly a detector contradicts each label of a set: one measure for all the ways in which it may.

A label may be wrong in that no face is there, that its box lies or is sized otherwise, or that its points do; and a
face may have no label. The measure is in bits, the logarithm of a ratio: at 5 bits what the detector says is 32 times
as frequent about labels that are wrong in this way as about the labels of this set.

- *no face*, *other box*: the evidence is the best box about the label, its score, how well it fits, and the label's
  height in the image that the network looked at. A logistic regression tells the labels as they are from labels of
  the same set that were spoilt at random (mlcycle.evaluation.evidence), and its odds are the ratio. So the measure
  knows by itself that a face of 8 pixels is missed for good reasons and one of 100 is not.
- *other points*: likewise, from how far labelled and found points lie apart, and how far they lie out of the box.
- *no label*: the odds that a detection of this score and height has a label, by a logistic regression over all
  detections of the set: its calibrated score.

Since a set is held against itself, an error that is the rule in it is not found.
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
# What is drawn at random is drawn alike each time. In a small set each label is spoilt several times.
SEED, ENOUGH, MOST_TIMES = 0, 2000, 20

Spoil = Callable[[Sequence[Case], Sequence[np.ndarray], np.random.Generator], Evidence]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One label, or one detection without a label, and how strongly both contradict each other.

    Attributes:
        case: the number of its image.
        label: its row among the image's labels; -1 for "no label".
        found: the row of the detection about the same face, or -1.
        kind: one of KINDS, the likeliest.
        bits: log2 of the ratio; the list's order.
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
    """Returns one for each label that counts and each detection without a label, the strongest first."""
    random = np.random.default_rng(SEED)
    pairs = [evidence.pair(case) for case in cases]
    labels, alarms = evidence.of_labels(cases, pairs), evidence.alarms(cases, pairs)
    times = min(max(ENOUGH // max(len(labels.case_L), 1), 1), MOST_TIMES)

    def spoilt(by: Spoil) -> Evidence:
        return evidence.joined([by(cases, pairs, random) for _ in range(times)])

    box_LF = _box_features(labels)
    odds_KL = np.stack(
        [
            _odds(box_LF, _box_features(spoilt(evidence.of_invented))),
            _odds(box_LF, _box_features(spoilt(evidence.of_misplaced))),
            _point_odds(labels, spoilt(evidence.of_other_points)),
        ]
    )
    rows = [*_label_rows(labels, odds_KL), *_alarm_rows(alarms, _labelled_odds(labels, alarms))]
    return sorted(rows, key=lambda row: (-row.bits, row.case, row.label, row.found))


def _box_features(labels: Evidence) -> np.ndarray:
    """What the odds of a wrong box are made of: height, and of what was found its score and how well it fits."""
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
    """The odds that points are wrong; 0 of labels that have none."""
    pointed_L, pointed_S = np.isfinite(labels.outside_L), np.isfinite(others.outside_L)
    odds_L = np.zeros(len(pointed_L))
    odds_L[pointed_L] = _odds(_point_features(labels)[pointed_L], _point_features(others)[pointed_S])
    return odds_L


def _odds(as_they_are_LF: np.ndarray, spoilt_SF: np.ndarray) -> np.ndarray:
    """Returns how many times as frequent evidence is about spoilt labels as about labels as they are: float64, [L]."""
    if not len(as_they_are_LF) or not len(spoilt_SF):
        return np.zeros(len(as_they_are_LF))
    is_spoilt_D = np.repeat([0.0, 1.0], [len(as_they_are_LF), len(spoilt_SF)])
    weights_F = _logistic(np.concatenate([as_they_are_LF, spoilt_SF]), is_spoilt_D)
    odds_L = np.exp(np.clip(as_they_are_LF @ weights_F, -30, 30)) * len(as_they_are_LF) / len(spoilt_SF)
    return np.minimum(odds_L, MOST_ODDS)


def _labelled_odds(labels: Evidence, alarms: Alarms) -> np.ndarray:
    """Returns for each detection without a label the odds that one like it has a label: float64, [A]."""
    found_L = labels.found_L >= 0
    score_D = _logit(np.concatenate([labels.score_L[found_L], alarms.score_A]))
    height_D = _height(np.concatenate([labels.height_L[found_L], alarms.height_A]))
    features_DF = np.stack([np.ones_like(score_D), score_D, height_D, score_D * height_D, height_D**2], axis=1)
    has_label_D = np.repeat([1.0, 0.0], [found_L.sum(), len(alarms.score_A)])
    weights_F = _logistic(features_DF, has_label_D)
    return np.exp(np.clip(features_DF[found_L.sum() :] @ weights_F, -30, np.log(MOST_ODDS)))


def _logistic(features_DF: np.ndarray, is_so_D: np.ndarray, steps: int = 20, ridge: float = 1.0) -> np.ndarray:
    """Returns the weights of a logistic regression, by Newton's method, drawn a little towards nought."""
    weights_F = np.zeros(features_DF.shape[1])
    pull_FF = ridge * np.eye(len(weights_F))
    for _ in range(steps):
        chance_D = 1 / (1 + np.exp(-np.clip(features_DF @ weights_F, -30, 30)))
        slope_F = features_DF.T @ (is_so_D - chance_D) - ridge * weights_F
        bend_FF = (features_DF * (chance_D * (1 - chance_D))[:, None]).T @ features_DF + pull_FF
        weights_F = weights_F + np.linalg.solve(bend_FF, slope_F)
    return weights_F


def _logit(scores: np.ndarray) -> np.ndarray:
    scores = np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)
    return np.log(scores / (1 - scores))


def _height(pixels: np.ndarray) -> np.ndarray:
    """Octaves above 32 pixels."""
    return np.log2(np.maximum(pixels, 1)) - 5


def _label_rows(labels: Evidence, odds_KL: np.ndarray) -> list[Contradiction]:
    # A wrong box is as often one that shows no face as one that lies elsewhere; wrong points are another matter.
    box_L = odds_KL[:2].mean(axis=0)
    bits_L = np.log2(np.maximum(np.maximum(box_L, odds_KL[2]), 1 / MOST_ODDS))
    # Where nothing was found, nothing says that the face is elsewhere.
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
