"""Cuts the faces out of an image: as they are, or turned and scaled to where face recognition expects them.

Crops are PNG whatever the image was: they are small, and a recogniser or a training run that reads them gets the
image's own pixels and one suffix. Where a square leaves the image it is black: the face stays in the middle,
and nothing is invented that could be taken for a part of the image.
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

# Of the longer side of a box, at each of its ends.
MARGIN = 0.2
SIDE = 112
# Where ArcFace (Deng et al. 2019) was trained to find left eye, right eye, nose, left and right corner of the mouth in
# 112 x 112 pixels: x y, counted from the middle of the first pixel.
TEMPLATE_52 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
# Aligned crops are drawn so many times larger and then made smaller. Of stripes too fine for the crop, at 0.75 to 1.3
# of them a pixel, at most 4 % of the contrast is left, whichever way the face is turned; the mean of 2 x 2 left 30 %.
_FINER = 2


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

    Args:
        image: the upright RGB image.
        boxes_N4: x1 y1 x2 y2 in its pixels; a crop is the square around one, with a margin.
        landmarks_N52: x y in its pixels; if given, each crop is aligned by them instead.
        overwrite: whether an existing folder may be replaced; one that holds anything but crops is left alone.
        token: what the temporary names of a run have in common, so that going on with it also takes away what it left.

    A folder of the very same crops is no other folder: it is what a run that was killed had finished.

    Returns whether there is a folder now; without faces there is none.

    Raises:
        FileExistsError: another folder is there, and `overwrite` is off.
        OSError: it cannot be written, or holds other files.
        ValueError: a face's landmarks all lie in one point.
    """
    exists = os.path.lexists(folder)
    if exists and not _holds_crops_alone(folder):
        if not overwrite:
            raise FileExistsError(f"{folder} exists")
        raise OSError("it is no folder that holds crops alone, and is left as it is")
    if not len(boxes_N4):
        if exists and not overwrite:
            raise FileExistsError(f"{folder} exists")
        if exists:
            shutil.rmtree(folder)
        return False
    with files.atomic_folder(folder, overwrite=overwrite, token=token) as growing:
        for row, box_4 in enumerate(boxes_N4):
            crop = square(image, box_4) if landmarks_N52 is None else aligned(image, landmarks_N52[row])
            crop.info.clear()
            crop.save(growing / crop_name(row + 1), compress_level=3)
    return True


def square(image: Image.Image, box_4: np.ndarray) -> Image.Image:
    """Returns the square around a box (x1 y1 x2 y2, pixels) and its margin: the image's own pixels."""
    x1, y1, x2, y2 = box_4.tolist()
    side = max(1, round((1 + 2 * MARGIN) * max(x2 - x1, y2 - y1)))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    inside = (max(0, left), max(0, top), min(image.width, left + side), min(image.height, top + side))
    # Pasted, not cropped at once: Pillow takes the square of a face in a huge image for a decompression bomb.
    crop = Image.new("RGB", (side, side))
    if inside[0] < inside[2] and inside[1] < inside[3]:
        crop.paste(image.crop(inside), (inside[0] - left, inside[1] - top))
    return crop


def aligned(image: Image.Image, points_52: np.ndarray) -> Image.Image:
    """Returns 112 x 112 pixels in which five landmarks (x y, pixels) lie as near to ArcFace's template as they can.

    The face is turned, scaled and moved, never stretched. A large one is first made smaller with an antialiased filter.

    Raises:
        ValueError: the landmarks all lie in one point.
    """
    # Half a pixel, since the template counts from the middle of the first pixel and landmarks from its corner.
    forth_33 = np.diag([_FINER, _FINER, 1]) @ similarity(points_52, TEMPLATE_52 + 0.5)
    back_33 = np.linalg.inv(forth_33)
    region = _region(back_33, image.size)
    if region[0] >= region[2] or region[1] >= region[3]:
        return Image.new("RGB", (SIDE, SIDE))
    width, height = region[2] - region[0], region[3] - region[1]
    scale = min(1.0, float(np.hypot(*forth_33[:2, 0])))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image.resize(size, Image.Resampling.BICUBIC, box=region)
    to_small_33 = np.diag([size[0] / width, size[1] / height, 1]) @ _moved(-region[0], -region[1]) @ back_33
    across = (SIDE * _FINER, SIDE * _FINER)
    coefficients = to_small_33[:2].ravel().tolist()
    fine = small.transform(across, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    return fine.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def similarity(points_N2: np.ndarray, places_N2: np.ndarray) -> np.ndarray:
    """Returns the turn, scale and shift (3 x 3, for columns x y 1) that takes points to places with least squares.

    The method is Umeyama's (1991), which gives no mirror image.

    Raises:
        ValueError: the points all lie in one.
    """
    points_N2, places_N2 = points_N2.astype(np.float64), places_N2.astype(np.float64)
    middle_2, there_2 = points_N2.mean(axis=0), places_N2.mean(axis=0)
    spread = ((points_N2 - middle_2) ** 2).sum() / len(points_N2)
    if not spread > 1e-6:
        raise ValueError("the landmarks of a face all lie in one point")
    left_22, singular_2, right_22 = np.linalg.svd((places_N2 - there_2).T @ (points_N2 - middle_2) / len(points_N2))
    signs_2 = np.array([1.0, np.sign(np.linalg.det(left_22) * np.linalg.det(right_22))])
    turn_22 = (singular_2 * signs_2).sum() / spread * left_22 * signs_2 @ right_22
    forth_33 = np.eye(3)
    forth_33[:2, :2], forth_33[:2, 2] = turn_22, there_2 - turn_22 @ middle_2
    return forth_33


def _region(back_33: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns the part of an image that an aligned crop shows, and what filters need around it, in whole pixels."""
    end = SIDE * _FINER
    corners_34 = np.array([[0, end, 0, end], [0, 0, end, end], [1, 1, 1, 1]])
    corners_24 = (back_33 @ corners_34)[:2]
    around = 4 * max(1.0, float(np.hypot(*back_33[:2, 0])))
    low_2, high_2 = np.floor(corners_24.min(axis=1) - around), np.ceil(corners_24.max(axis=1) + around)
    left, top = np.clip(low_2, 0, size).astype(int).tolist()
    right, bottom = np.clip(high_2, 0, size).astype(int).tolist()
    return left, top, right, bottom


def _moved(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _holds_crops_alone(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(re.fullmatch(r"\d+\.png", name) for name in os.listdir(folder))  # noqa: PTH208 (names are all it takes)
