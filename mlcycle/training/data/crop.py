"""Cuts a crop out of an image, and transforms the labels with it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath
from mlcycle.training.data.image_input import open_image, upright_rgb, upright_size
from mlcycle.training.data.window import mirror, resize, stored_window
from mlcycle.training.recipes.recipe import PHOTOMETRIC, Augment

# In a mirrored image the left eye is the right one.
MIRRORED_POINTS = (1, 0, 2, 4, 3)
# A face with less than this share of its area inside the crop is ignored: neither a face nor background.
LEAST_VISIBLE = 0.5
# The long side of a whole image is at least this share of the crop's side.
WHOLE_IMAGE_SHARE = 0.8
# The share of the crops around a face that bring it to a random size; the others are cut at a random scale.
SIZED_SHARE = 0.5
# The shares of a face's width and height that a piece of background covers, on one side or in one corner of its box.
COVERED_SHARE = (0.3, 0.6)
# The least side of a face to cover, in pixels; the rest of a smaller one would look like no face at all.
LEAST_COVERED = 16
# How often a piece of background is searched for before a face is left as it is.
PIECE_TRIES = 5
# The range of JPEG qualities at which a crop is compressed again.
JPEG_QUALITY = (30, 90)


@dataclass(frozen=True, slots=True)
class Sample:
    """One crop: pixels_SS3 uint8, faces_N4 and landmarks_N52 in crop pixels, ignored_I4, and its image's name.

    `photometric_L` holds random numbers, 0 to 1, in the order of `recipe.PHOTOMETRIC`.
    """

    pixels_SS3: np.ndarray
    faces_N4: np.ndarray
    landmarks_N52: np.ndarray
    ignored_I4: np.ndarray
    name: str
    photometric_L: np.ndarray = field(default_factory=lambda: np.full(len(PHOTOMETRIC), 0.5, np.float32))


Window = tuple[float, float, float, float]


class Source(Protocol):
    """The source of an image's pixels: its file, or the decoded cache."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image."""

    def part(self, zoom: float, window: Window, size: tuple[int, int]) -> tuple[np.ndarray, Window]:
        """Returns a window of the image resized to `size` (width, height), as image_HW3 uint8, and the window that was
        actually read, rounded to stored pixels.

        Args:
            zoom: output pixels per image pixel; at a small zoom, a smaller copy may be read.
            window: x1 y1 x2 y2 in image pixels, within the image.
        """


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that is decoded each time it is read."""

    path: ImagePath

    @property
    def size(self) -> tuple[int, int]:
        return upright_size(open_image(self.path))

    def part(self, zoom: float, window: Window, size: tuple[int, int]) -> tuple[np.ndarray, Window]:
        """See `Source`."""
        image = open_image(self.path)
        whole = upright_size(image)
        if zoom < 0.5:
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size in a fraction of the time.
            image.draft("RGB", (math.ceil(image.width * zoom), math.ceil(image.height * zoom)))
        pixels_HW3 = np.array(upright_rgb(image))
        place = stored_window(window, whole, (pixels_HW3.shape[1], pixels_HW3.shape[0]))
        x1, y1, x2, y2 = place.stored
        return resize(pixels_HW3[y1:y2, x1:x2], size), place.real


def cut(labelled: LabelledImage, source: Source, rule: Augment, side: int, random: np.random.Generator) -> Sample:
    """Cuts one square crop of `side` pixels out of an image, with its labels.

    Raises:
        DataError: the image cannot be read; the error names it.
    """
    size = source.size  # read once: for a file, it is parsed from the header
    window = _choose_window(labelled, size, rule, side, random)
    image, scale, shift = _render(source, size, window, side)
    boxes = labelled.boxes_N4 * np.concatenate((scale, scale)) + np.concatenate((shift, shift))
    landmarks = labelled.landmarks_N52 * scale + shift
    if random.random() < rule.rotate:
        image, boxes, landmarks = rotate(image, boxes, landmarks, math.radians(random.uniform(-1, 1) * rule.angle))
    if random.random() < rule.flip:
        image, boxes, landmarks = _mirror(image, boxes, landmarks)
    if rule.occlude:
        image = occlude(image, boxes, rule.occlude, random)
    if rule.exposure:
        image = expose(image, 2 ** random.uniform(-rule.exposure, rule.exposure))
    if random.random() < rule.jpeg:
        image = through_jpeg(image, int(random.integers(*JPEG_QUALITY)))
    faces, points, ignored = _clip_labels(boxes, landmarks, labelled.ignore_N, rule, side)
    return Sample(image, faces, points, ignored, labelled.name)


def _choose_window(
    image: LabelledImage, size: tuple[int, int], rule: Augment, crop: int, random: np.random.Generator
) -> tuple[float, float, float]:
    """Returns the zoom (crop pixels per image pixel) and the left and top of the window in image pixels."""
    # At a smaller zoom than that of the whole image, a crop would be mostly black.
    smallest = min(rule.zoom[1], max(rule.zoom[0], WHOLE_IMAGE_SHARE * crop / max(size)))
    learnt = np.flatnonzero(~image.ignore_N)
    if len(learnt) and random.random() < rule.on_face:
        x1, y1, x2, y2 = image.boxes_N4[learnt[random.integers(len(learnt))]].tolist()
        if random.random() < SIZED_SHARE:
            face = max(1.0, math.sqrt((x2 - x1) * (y2 - y1)))
            wanted = _log_uniform(_sizes_for(rule, crop), random)
            zoom = min(max(wanted / face, smallest), rule.zoom[1])
        else:
            zoom = _log_uniform((smallest, rule.zoom[1]), random)
        side = crop / zoom
        # The face's centre is anywhere in the inner four fifths of the window.
        left = (x1 + x2) / 2 - side * random.uniform(0.1, 0.9)
        top = (y1 + y2) / 2 - side * random.uniform(0.1, 0.9)
    else:
        zoom = _log_uniform((smallest, rule.zoom[1]), random)
        side = crop / zoom
        left, top = (random.uniform(min(0.0, edge - side), max(0.0, edge - side)) for edge in size)
    # A window that extends beyond an edge is moved back into the image as far as possible.
    left, top = (
        min(max(place, min(0.0, edge - side)), max(0.0, edge - side))
        for place, edge in zip((left, top), size, strict=True)
    )
    return zoom, left, top


def _sizes_for(rule: Augment, crop: int) -> tuple[float, float]:
    """Returns the range of face sizes in pixels; a larger crop has larger ones."""
    least, most = rule.face_size
    return least, max(least, most * crop / rule.crop)


def _log_uniform(limits: tuple[float, float], random: np.random.Generator) -> float:
    return math.exp(random.uniform(math.log(limits[0]), math.log(limits[1])))


def _render(
    source: Source, whole: tuple[int, int], window: tuple[float, float, float], crop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns image_SS3, black outside the image, and the transform of points into it: scale_2, then shift_2."""
    zoom, left, top = window
    width, height = whole
    x1, y1, x2, y2 = max(0.0, left), max(0.0, top), min(width, left + crop / zoom), min(height, top + crop / zoom)
    target = [round((value - origin) * zoom) for value, origin in ((x1, left), (y1, top), (x2, left), (y2, top))]
    size = max(1, target[2] - target[0]), max(1, target[3] - target[1])
    image, real = source.part(zoom, (x1, y1, x2, y2), size)
    scale = np.array([size[0] / (real[2] - real[0]), size[1] / (real[3] - real[1])])
    shift = np.array(target[:2]) - scale * real[:2]
    if size != (crop, crop):
        canvas = np.zeros((crop, crop, 3), np.uint8)
        canvas[target[1] : target[1] + size[1], target[0] : target[0] + size[0]] = image
        image = canvas
    return image, scale, shift


def _mirror(image: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    side, mirrored = image.shape[1], boxes.copy()
    mirrored[:, 0], mirrored[:, 2] = side - boxes[:, 2], side - boxes[:, 0]
    points = landmarks[:, MIRRORED_POINTS] * (-1, 1) + (side, 0)
    return mirror(image), mirrored, points


def rotate(
    image: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray, angle: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotates an image and its labels clockwise about its centre, by an angle in radians.

    The rotated box of a face is that of the ellipse inscribed in its box.
    """
    rotated = np.array(Image.fromarray(image).rotate(-math.degrees(angle), Image.Resampling.BILINEAR))
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    origin = np.array(image.shape[:2]) / 2
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 - origin) @ matrix + origin
    half = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ matrix**2)
    return rotated, np.concatenate((centres - half, centres + half), axis=1), (landmarks - origin) @ matrix + origin


def occlude(image_SS3: np.ndarray, boxes_N4: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Returns an image in which a `share` of the faces are partly covered, as by another person or by a thing.

    A rectangle on one side or in one corner of a face's box is replaced by one of the same size from elsewhere in the
    image that touches no face. Faces that leave no room for one, and very small ones, stay as they are. Labels stay the
    same: those of WIDER FACE include what is covered.

    Args:
        boxes_N4: x1 y1 x2 y2 in pixels of the image; they may extend beyond it.
    """
    side, covered = image_SS3.shape[0], image_SS3.copy()
    for x1, y1, x2, y2 in boxes_N4[random.random(len(boxes_N4)) < share]:
        if min(x2 - x1, y2 - y1) < LEAST_COVERED:
            continue
        parts = random.uniform(*COVERED_SHARE, 2)
        side_or_corner = random.integers(3)
        if side_or_corner < len(parts):
            parts[side_or_corner] = 1.0  # the whole width, or the whole height
        width, height = np.minimum(np.ceil(parts * (x2 - x1, y2 - y1)), side).astype(int)
        left, top = (x1, x2 - width)[random.integers(2)], (y1, y2 - height)[random.integers(2)]
        column, row = (
            int(min(max(round(place), 0), side - length)) for place, length in ((left, width), (top, height))
        )
        for x, y in random.integers(0, (side - width + 1, side - height + 1), (PIECE_TRIES, 2)):
            beside = (boxes_N4[:, 0] > x + width) | (boxes_N4[:, 2] < x)
            if (beside | (boxes_N4[:, 1] > y + height) | (boxes_N4[:, 3] < y)).all():
                covered[row : row + height, column : column + width] = image_SS3[y : y + height, x : x + width]
                break
    return covered


def expose(image: np.ndarray, gamma: float) -> np.ndarray:
    """Returns an image whose values, from 0 to 1, are raised to `gamma`: darker above 1, brighter below."""
    table_256 = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.take(table_256, image)


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Returns an image after JPEG compression at this quality."""
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=quality)
    return np.array(Image.open(packed).convert("RGB"))


def mosaic(tiles: Sequence[Sample], side: int) -> Sample:
    """Combines four crops of `side` pixels into a 2 x 2 mosaic (Bochkovskiy et al. 2020, "YOLOv4")."""
    rows = [np.concatenate([each.pixels_SS3 for each in tiles[start : start + 2]], axis=1) for start in (0, 2)]
    shifts = [np.array([column, row], np.float32) * side for row in (0, 1) for column in (0, 1)]
    moved = list(zip(tiles, shifts, strict=True))
    return Sample(
        pixels_SS3=np.concatenate(rows),
        faces_N4=np.concatenate([tile.faces_N4 + np.tile(shift, 2) for tile, shift in moved]),
        landmarks_N52=np.concatenate([tile.landmarks_N52 + shift for tile, shift in moved]),
        ignored_I4=np.concatenate([tile.ignored_I4 + np.tile(shift, 2) for tile, shift in moved]),
        name=" + ".join(tile.name for tile in tiles),
    )


def _clip_labels(
    boxes: np.ndarray, landmarks: np.ndarray, ignore: np.ndarray, rule: Augment, crop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the faces to train on, their landmarks, and the boxes to ignore, all clipped to the crop."""
    clipped = boxes.clip(0, crop).astype(np.float32)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    seen = (clipped[:, 2:] - clipped[:, :2]).prod(axis=1)
    in_crop = seen > 0
    small = np.sqrt(np.maximum(area, 0)) < rule.smallest_face
    learn = in_crop & ~ignore & ~small & (seen >= LEAST_VISIBLE * area)
    return clipped[learn], landmarks[learn].astype(np.float32), clipped[in_crop & ~learn]
