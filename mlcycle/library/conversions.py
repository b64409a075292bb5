"""Faces to and from the classes of other packages, which are imported only where a value of theirs is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlcycle.artifact.contract import LANDMARKS
from mlcycle.extras import extra
from mlcycle.inference.record import Record

if TYPE_CHECKING:
    import supervision

# Where supervision's Detections keep the five points of each face: data["landmarks"], shape (N, 5, 2).
POINTS = "landmarks"


def to_supervision(record: Record) -> supervision.Detections:
    """Returns the faces of a record as supervision's Detections; their class is 0, "face".

    Raises:
        MissingExtraError: supervision is not installed.
    """
    with extra("supervision", "to_supervision()"):
        import supervision
    count = len(record.scores_N)
    data: dict[str, npt.NDArray[Any] | list[Any]] = {"class_name": np.full(count, "face")}
    if record.landmarks_N52 is not None:
        data[POINTS] = record.landmarks_N52.copy()
    return supervision.Detections(
        xyxy=record.boxes_N4.copy(), confidence=record.scores_N.copy(), class_id=np.zeros(count, int), data=data
    )


def from_supervision(detections: supervision.Detections, name: str, size: tuple[int, int]) -> Record:
    """Returns the record of an image in which another detector found these; supervision itself is not needed.

    Args:
        name: of the image.
        size: its width and height in pixels.
    """
    boxes_N4 = np.asarray(detections.xyxy, np.float32).reshape(-1, 4)
    given = detections.confidence
    scores_N = np.ones(len(boxes_N4), np.float32) if given is None else np.asarray(given, np.float32)
    best_first_N = np.argsort(-scores_N, kind="stable")
    points = np.asarray(detections.data.get(POINTS, ()), np.float32)
    has_points = points.shape == (len(boxes_N4), len(LANDMARKS), 2)
    return Record(
        input=name,
        boxes_N4=boxes_N4[best_first_N],
        scores_N=scores_N[best_first_N],
        landmarks_N52=points[best_first_N] if has_points else None,
        landmark_names=LANDMARKS if has_points else (),
        width=size[0],
        height=size[1],
    )
