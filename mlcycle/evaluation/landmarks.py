"""Landmark errors: distances of predicted from labelled points, as shares of the face's size.

The size is the square root of the area of the labelled box. Unlike the common distance of the eyes, it is also defined
for faces in profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlcycle.evaluation import bootstrap, matching
from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.matches import Matches

GOOD = 0.1


@dataclass(frozen=True, slots=True)
class LandmarkError:
    """Errors as shares of the face's size, over detected faces with labelled landmarks.

    Attributes:
        faces: their number; `labelled` is the number of faces with labelled landmarks.
        mean: over the faces of the mean over their labelled points.
        mean_interval: its 95 % interval.
        by_point: the mean error of each point, by its name; NaN if it is labelled on no face.
        good: the share of faces with a mean error below 10 %.
    """

    faces: int
    labelled: int
    mean: float
    mean_interval: Interval
    by_point: dict[str, float]
    good: float


@dataclass(frozen=True, slots=True)
class ImageLandmarks:
    """The landmarks of one image.

    Attributes:
        boxes_N4, points_N52: of its labels, in pixels; NaN for a point that is not labelled.
        counted_N: bool, the labelled faces that are not ignored.
        found_M52: the points of its detections.
    """

    boxes_N4: np.ndarray
    points_N52: np.ndarray
    counted_N: np.ndarray
    found_M52: np.ndarray


def measure(
    matches: Matches,
    images: Sequence[ImageLandmarks],
    names: tuple[str, ...],
    threshold: float,
) -> LandmarkError | None:
    """Compares the landmarks of faces detected at IoU 0.5 with a score of at least `threshold`.

    Args:
        images: the matched images, in order.
        names: of the five points.

    Returns:
        The errors, or None if no face has labelled landmarks.
    """
    labelled = sum(
        int((np.isfinite(each.points_N52).all(axis=2).any(axis=1) & each.counted_N).sum()) for each in images
    )
    if not labelled:
        return None
    errors_K5, image_K = _errors(matches, images, threshold)
    present_K5 = np.isfinite(errors_K5)
    face_K = np.nansum(errors_K5, axis=1) / np.maximum(present_K5.sum(axis=1), 1)
    sum_P, number_P = (np.bincount(image_K, each, len(images)) for each in (face_K, np.ones(len(face_K))))
    return LandmarkError(
        faces=len(face_K),
        labelled=labelled,
        mean=_mean(face_K),
        mean_interval=bootstrap.ratio(sum_P, number_P, bootstrap.weights(len(images))),
        by_point={name: _mean(error_K[np.isfinite(error_K)]) for name, error_K in zip(names, errors_K5.T, strict=True)},
        good=_mean(face_K < GOOD),
    )


def _errors(matches: Matches, images: Sequence[ImageLandmarks], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the error of each point of K faces (NaN if not labelled), and the index of their images."""
    good = np.flatnonzero(matches.right_RTD[0, 0] & (matches.scores_D >= threshold))
    image_K = matches.image_D[good]
    of_image = [images[number] for number in image_K]
    faces, rows = matches.face_D[good], matches.row_D[good]
    found_K52 = np.array([each.found_M52[row] for each, row in zip(of_image, rows, strict=True)])
    labelled_K52 = np.array([each.points_N52[face] for each, face in zip(of_image, faces, strict=True)])
    boxes_K4 = np.array([each.boxes_N4[face] for each, face in zip(of_image, faces, strict=True)])
    distance_K5 = np.linalg.norm((found_K52 - labelled_K52).reshape(-1, 5, 2), axis=2)
    errors_K5 = distance_K5 / np.sqrt(matching.areas(boxes_K4.reshape(-1, 4)))[:, None]
    has_points_K = np.isfinite(errors_K5).any(axis=1)
    return errors_K5[has_points_K], image_K[has_points_K]


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
