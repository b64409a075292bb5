"""Average precision by the groups of a set: WIDER FACE's events, or folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation import coco, operating_point
from mlcycle.evaluation.matches import Matches, of_images


@dataclass(frozen=True, slots=True)
class GroupPrecision:
    """The metrics of one group: COCO's average precision, NaN without a face, and recall at a given threshold."""

    name: str
    images: int
    faces: int
    ap: float
    ap50: float
    recall: float


def by_group(matches: Matches, groups: Sequence[str], threshold: float) -> list[GroupPrecision]:
    """Returns the metrics of each group, hardest first; nothing if there are fewer than two groups.

    Args:
        groups: the group of each image.
        threshold: of the recall.
    """
    groups_P = np.array(groups, object)
    names = sorted(set(groups))
    if len(names) < 2:
        return []
    measured = (_measure(name, of_images(matches, groups_P == name), groups_P == name, threshold) for name in names)
    return sorted(measured, key=lambda each: (np.isnan(each.ap50), each.ap50, each.name))


def _measure(name: str, matches: Matches, chosen_P: np.ndarray, threshold: float) -> GroupPrecision:
    whole = coco.summarise(matches)
    recall = operating_point.at_threshold(matches, threshold).recall
    return GroupPrecision(name, int(chosen_P.sum()), whole.faces, whole.ap, whole.ap50, recall)
