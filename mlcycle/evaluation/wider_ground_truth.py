"""Reads the official ground truth of WIDER FACE: wider_face_val.mat and one .mat for each level."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.errors import DataError

LEVELS = ("easy", "medium", "hard")
FILES = ("wider_face_val.mat", *(f"wider_{level}_val.mat" for level in LEVELS))


@dataclass(frozen=True, slots=True)
class OfficialFaces:
    """The labelled faces of one image.

    Attributes:
        boxes_N4: float64, x1 y1 x2 y2 in pixels, with x2 = x + w of the label.
        counted: level → counted_N: bool, the faces that count.
    """

    boxes_N4: np.ndarray
    counted: dict[str, np.ndarray]


def is_here(folder: Path) -> bool:
    """Returns whether a folder holds all four files."""
    return all((folder / name).is_file() for name in FILES)


def read(folder: Path) -> dict[str, OfficialFaces]:
    """Reads the four files; keys are "EVENT/STEM" with the stem of the image's file name. Needs scipy.

    Raises:
        DataError: a file is missing, cannot be read, or lacks the lists of the official files.
    """
    faces = _lists(folder / FILES[0], "face_bbx_list")
    boxes = {name: _corners(box) for name, box in faces.items()}
    levels = {level: _lists(folder / file, "gt_list") for level, file in zip(LEVELS, FILES[1:], strict=True)}
    try:
        return {
            name: OfficialFaces(
                boxes_N4, {level: _marks(numbers[name], len(boxes_N4)) for level, numbers in levels.items()}
            )
            for name, boxes_N4 in boxes.items()
        }
    except (KeyError, IndexError) as problem:
        raise DataError(f"the files in {folder} do not match: {problem}", "download all four again") from None


def _lists(path: Path, wanted: str) -> dict[str, np.ndarray]:
    """Returns one list of a .mat file, which is nested by event and image, by "EVENT/STEM"."""
    content = _load(path)
    try:
        return {
            f"{event[0].item()}/{image[0].item()}": values[0]
            for event, images, events_values in zip(
                content["event_list"], content["file_list"], content[wanted], strict=True
            )
            for image, values in zip(images[0], events_values[0], strict=True)
        }
    except (KeyError, IndexError, ValueError, AttributeError):
        raise DataError(f"{path} lacks the lists of the official file", "download it again") from None


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        return loadmat(str(path))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", "WIDER FACE's eval_tools.zip has it in ground_truth") from None
    except Exception as problem:  # scipy raises many kinds of errors for a damaged file
        raise DataError(f"{path} cannot be read: {problem}", "download it again") from None


def _corners(boxes: np.ndarray) -> np.ndarray:
    boxes_N4 = np.array(boxes, float).reshape(-1, 4)
    boxes_N4[:, 2:] += boxes_N4[:, :2]
    return boxes_N4


def _marks(numbers: np.ndarray, faces: int) -> np.ndarray:
    """Turns face numbers, which start at 1, into a mask."""
    counted_N = np.zeros(faces, bool)
    counted_N[np.asarray(numbers, int).reshape(-1) - 1] = True
    return counted_N
