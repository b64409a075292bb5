"""Recall by an attribute of faces, such as perceived skin: whether a detector misses some people more often."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation import bootstrap
from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.matches import Matches

Counts = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

# Faces lower than this many pixels of the image say more about resolution than about people.
LEAST_HEIGHT = 32.0
# Groups of fewer faces are listed, and have no part in the difference.
FEWEST = 20


@dataclass(frozen=True, slots=True)
class ValueRecall:
    """Recall of the faces that have one value of an attribute, with its 95 % interval over samples of the images."""

    value: str
    faces: int
    recall: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class AttributeRecall:
    """Recall by the values of one attribute.

    Attributes:
        name: of the attribute.
        values: in alphabetical order.
        best, worst: the values of the highest and the lowest recall among those with enough faces; "" without two.
        difference: of their recall, NaN without two; `interval` is its own, over the same samples.
    """

    name: str
    values: list[ValueRecall]
    best: str
    worst: str
    difference: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class LabelledFaces:
    """The F labelled faces of all images that have attributes and count.

    Attributes:
        image_F, row_F: the index of the image and the face's row among its labels.
        values: for each attribute by its name, value_F; "" where it is not known.
    """

    image_F: np.ndarray
    row_F: np.ndarray
    values: Mapping[str, Sequence[str]]


def by_attribute(matches: Matches, faces: LabelledFaces, threshold: float) -> list[AttributeRecall]:
    """Returns the recall of each attribute's values at a threshold, at IoU 0.5."""
    accepted_D = matches.right_RTD[0, 0] & (matches.scores_D >= threshold)
    found = set(zip(matches.image_D[accepted_D].tolist(), matches.face_D[accepted_D].tolist(), strict=True))
    found_F = np.array([pair in found for pair in zip(faces.image_F.tolist(), faces.row_F.tolist(), strict=True)], bool)
    images = matches.faces_RP.shape[1]
    weights_BP = bootstrap.weights(images)

    def counts(chosen_F: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns how many of the chosen faces are found, and how many there are, in each image."""
        marks = chosen_F & found_F, chosen_F
        right_P, all_P = (np.bincount(faces.image_F[each_F], minlength=images) for each_F in marks)
        return right_P, all_P

    return [_attribute(name, np.array(values_F, object), counts, weights_BP) for name, values_F in faces.values.items()]


def _attribute(name: str, values_F: np.ndarray, counts: Counts, weights_BP: np.ndarray) -> AttributeRecall:
    known = {value: counts(values_F == value) for value in sorted({*values_F.tolist()} - {""})}
    values = [
        ValueRecall(value, int(all_P.sum()), right_P.sum() / all_P.sum(), bootstrap.ratio(right_P, all_P, weights_BP))
        for value, (right_P, all_P) in known.items()
    ]
    enough = sorted((each for each in values if each.faces >= FEWEST), key=lambda each: each.recall)
    if len(enough) < 2:
        return AttributeRecall(name, values, "", "", float("nan"), Interval(float("nan"), float("nan")))
    worst, best = enough[0], enough[-1]
    recalls = [_drawn(*known[each.value], weights_BP) for each in (best, worst)]
    interval = bootstrap.interval(recalls[0] - recalls[1])
    return AttributeRecall(name, values, best.value, worst.value, best.recall - worst.recall, interval)


def _drawn(right_P: np.ndarray, all_P: np.ndarray, weights_BP: np.ndarray) -> np.ndarray:
    """Returns recall_B over the samples; NaN where one has no such face."""
    right_B, all_B = weights_BP @ right_P, weights_BP @ all_P
    return np.divide(right_B, all_B, out=np.full_like(all_B, np.nan), where=all_B > 0)
