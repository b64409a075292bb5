"""Greedy non-maximum suppression, as the graph of a model file does it; needs only numpy."""

import numpy as np


def nms(
    boxes_N4: np.ndarray, scores_N: np.ndarray, score_floor: float, iou_threshold: float, max_faces: int
) -> list[int]:
    """Returns the rows of the faces, best first. The boxes are x1 y1 x2 y2."""
    areas_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1)
    rest, kept = np.argsort(-scores_N, kind="stable"), list[int]()
    rest = rest[scores_N[rest] > score_floor]
    while len(rest) and len(kept) < max_faces:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        sides = np.minimum(boxes_N4[best, 2:], boxes_N4[rest, 2:]) - np.maximum(boxes_N4[best, :2], boxes_N4[rest, :2])
        shared = sides.clip(0).prod(axis=1)
        rest = rest[shared <= iou_threshold * (areas_N[best] + areas_N[rest] - shared)]
    return kept
