"""Crops the faces of an image: as squares, or aligned for face recognition.

Crops are always PNG: they are small, lossless and have one suffix. A square is black outside the image: the face stays
centred, and no pixels are invented.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from mlcycle import files
from mlcycle.inference.record import crop_name

# On each side of a box, as a share of its longer side.
MARGIN = 0.2
SIDE = 112
# Where ArcFace (Deng et al. 2019) expects left eye, right eye, nose, left and right corner of the mouth in 112 x 112
# pixels: x y, measured from the centre of the first pixel.
TEMPLATE_52 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
# Aligned crops are drawn larger by this factor and then reduced, against aliasing: of stripes too fine for the crop
# (0.75 to 1.3 per pixel), at most 4 % of the contrast remains at any rotation; averaging 2 x 2 pixels left 30 %.
_OVERSAMPLING = 2


def write(
    image: Image.Image,
    boxes_N4: np.ndarray,
    folder: Path,
    *,
    landmarks_N52: np.ndarray | None = None,
    overwrite: bool = False,
    token: str = "",
) -> bool:
    """Writes 1.png, 2.png … into a folder, in the order of the boxes, without metadata: all of them or none.

    An existing folder with exactly these crops is kept: a killed run had finished it.

    Args:
        image: the upright RGB image.
        boxes_N4: x1 y1 x2 y2 in its pixels; a crop is the square around a box, with a margin.
        landmarks_N52: x y in its pixels; if given, each crop is aligned by them instead.
        overwrite: whether a folder of other crops may be replaced; a folder with other files never is.
        token: common part of a run's temporary names, so that resuming it removes what it left.

    Returns:
        whether the folder exists now; without faces there is none.

    Raises:
        FileExistsError: another folder exists, and `overwrite` is off.
        OSError: it cannot be written, or has other files.
        ValueError: the landmarks of a face coincide.
    """
    exists = os.path.lexists(folder)
    if exists and not _has_only_crops(folder):
        if not overwrite:
            raise FileExistsError(f"{folder} exists")
        raise OSError("it is not a folder of crops only, and was not replaced")
    if not len(boxes_N4):
        if exists and not overwrite:
            raise FileExistsError(f"{folder} exists")
        if exists:
            shutil.rmtree(folder)
        return False
    with files.atomic_folder(folder, overwrite=overwrite, token=token) as draft:
        for row, box_4 in enumerate(boxes_N4):
            crop = square(image, box_4) if landmarks_N52 is None else aligned(image, landmarks_N52[row])
            crop.info.clear()
            crop.save(draft / crop_name(row + 1), compress_level=3)
    return True


def square(image: Image.Image, box_4: np.ndarray) -> Image.Image:
    """Returns the square around a box (x1 y1 x2 y2, pixels) with its margin, in the image's resolution."""
    x1, y1, x2, y2 = box_4.tolist()
    side = max(1, round((1 + 2 * MARGIN) * max(x2 - x1, y2 - y1)))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    inside = (max(0, left), max(0, top), min(image.width, left + side), min(image.height, top + side))
    # Pasted instead of cropped: Pillow may take a crop in a huge image for a decompression bomb.
    crop = Image.new("RGB", (side, side))
    if inside[0] < inside[2] and inside[1] < inside[3]:
        crop.paste(image.crop(inside), (inside[0] - left, inside[1] - top))
    return crop


def aligned(image: Image.Image, points_52: np.ndarray) -> Image.Image:
    """Returns 112 x 112 pixels with five landmarks (x y, pixels) as close to ArcFace's template as possible.

    The face is rotated, scaled and moved, never stretched. A large one is first reduced with an antialiased filter.

    Raises:
        ValueError: the landmarks coincide.
    """
    # Half a pixel, because the template counts from the centre of the first pixel and landmarks from its corner.
    forward_33 = np.diag([_OVERSAMPLING, _OVERSAMPLING, 1]) @ similarity(points_52, TEMPLATE_52 + 0.5)
    inverse_33 = np.linalg.inv(forward_33)
    region = _region(inverse_33, image.size)
    if region[0] >= region[2] or region[1] >= region[3]:
        return Image.new("RGB", (SIDE, SIDE))
    width, height = region[2] - region[0], region[3] - region[1]
    scale = min(1.0, float(np.hypot(*forward_33[:2, 0])))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image.resize(size, Image.Resampling.BICUBIC, box=region)
    to_small_33 = np.diag([size[0] / width, size[1] / height, 1]) @ _translation(-region[0], -region[1]) @ inverse_33
    across = (SIDE * _OVERSAMPLING, SIDE * _OVERSAMPLING)
    coefficients = to_small_33[:2].ravel().tolist()
    fine = small.transform(across, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    return fine.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def similarity(points_N2: np.ndarray, targets_N2: np.ndarray) -> np.ndarray:
    """Returns the least-squares similarity transform (3 x 3, for columns x y 1) from points to targets.

    The method is Umeyama's (1991), which excludes reflections.

    Raises:
        ValueError: the points coincide.
    """
    points_N2, targets_N2 = points_N2.astype(np.float64), targets_N2.astype(np.float64)
    centre_2, target_2 = points_N2.mean(axis=0), targets_N2.mean(axis=0)
    variance = ((points_N2 - centre_2) ** 2).sum() / len(points_N2)
    if not variance > 1e-6:
        raise ValueError("the landmarks of a face coincide")
    left_22, singular_2, right_22 = np.linalg.svd((targets_N2 - target_2).T @ (points_N2 - centre_2) / len(points_N2))
    signs_2 = np.array([1.0, np.sign(np.linalg.det(left_22) * np.linalg.det(right_22))])
    linear_22 = (singular_2 * signs_2).sum() / variance * left_22 * signs_2 @ right_22
    forward_33 = np.eye(3)
    forward_33[:2, :2], forward_33[:2, 2] = linear_22, target_2 - linear_22 @ centre_2
    return forward_33


def _region(inverse_33: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns the part of an image that an aligned crop shows, with a margin for filters, in whole pixels."""
    end = SIDE * _OVERSAMPLING
    corners_34 = np.array([[0, end, 0, end], [0, 0, end, end], [1, 1, 1, 1]])
    corners_24 = (inverse_33 @ corners_34)[:2]
    margin = 4 * max(1.0, float(np.hypot(*inverse_33[:2, 0])))
    low_2, high_2 = np.floor(corners_24.min(axis=1) - margin), np.ceil(corners_24.max(axis=1) + margin)
    left, top = np.clip(low_2, 0, size).astype(int).tolist()
    right, bottom = np.clip(high_2, 0, size).astype(int).tolist()
    return left, top, right, bottom


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _has_only_crops(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(re.fullmatch(r"\d+\.png", name) for name in os.listdir(folder))  # noqa: PTH208 (only names are needed)
