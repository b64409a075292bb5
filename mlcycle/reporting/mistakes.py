"""Crops of the worst mistakes of a detector, with the labels and the detections drawn in.

The caller passes the function that opens an image, because training and inference read images differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath
from mlcycle.evaluation import matching, worst
from mlcycle.evaluation.matches import Matches, Prediction
from mlcycle.reporting.data_uri import data_uri

# Crops of each kind, and their sides in pixels: sharp on a phone, and far below a megabyte in total.
THUMBNAILS, SIDE = 24, 208
# The side of a crop: a multiple of the box's longer side, and at least so many pixels.
AROUND, LEAST_PIXELS = 2.2, 48
LABEL, FOUND, EDGE = (0, 180, 216), (255, 159, 28), (0, 0, 0)
JPEG_QUALITY = 72


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image: its bytes as a data URI, a caption, and the name of the image it is from."""

    uri: str
    caption: str
    source: str


@dataclass(frozen=True, slots=True)
class Predictions:
    """Labelled images, the detections in each (boxes_M4, x1 y1 x2 y2 in pixels, and scores_M), their matches, and the
    lowest score of a face."""

    images: Sequence[LabelledImage]
    found: Sequence[Prediction]
    matches: Matches
    threshold: float


Open = Callable[[ImagePath], Image.Image | None]


@dataclass(frozen=True, slots=True)
class _Mistake:
    """A box (x1 y1 x2 y2, pixels) of an image, its caption, and whether it is a detection or a label."""

    image: int
    box_4: np.ndarray
    caption: str
    is_detection: bool


def misses(predictions: Predictions, open_upright: Open) -> list[Thumbnail]:
    """Returns crops of the largest missed faces.

    Args:
        open_upright: returns an image upright in RGB, or None if it cannot be read; such an image has no crop.
    """
    truths = [(each.boxes_N4, each.ignore_N) for each in predictions.images]
    missed = worst.misses(predictions.matches, truths, predictions.threshold, THUMBNAILS)
    return _images(predictions, [_missed(each) for each in missed], open_upright)


def false_alarms(predictions: Predictions, open_upright: Open) -> list[Thumbnail]:
    """Returns crops of the false alarms with the highest scores; arguments as for `misses`."""
    alarms = worst.false_alarms(predictions.matches, THUMBNAILS)
    return _images(predictions, [_false_alarm(predictions, each) for each in alarms], open_upright)


def _missed(miss: worst.Miss) -> _Mistake:
    width, height = miss.box_4[2:] - miss.box_4[:2]
    # Rounded down, so that a score just below the threshold does not read as the threshold.
    score = "no box" if math.isnan(miss.score) else f"score {math.floor(miss.score * 100) / 100:.2f}"
    return _Mistake(miss.image, miss.box_4, f"{width:.0f} × {height:.0f} px, {score}", is_detection=False)


def _false_alarm(predictions: Predictions, alarm: worst.FalseAlarm) -> _Mistake:
    image = predictions.images[alarm.image]
    box_4 = predictions.found[alarm.image][0][alarm.row]
    faces_N4 = image.boxes_N4[~image.ignore_N]
    overlap = matching.overlaps(box_4[None], faces_N4, np.zeros(len(faces_N4), bool)).max(initial=0)
    if overlap >= 0.5:
        why = "a second box on a face"
    else:
        why = f"IoU {min(overlap, 0.49):.2f} with a face" if overlap >= 0.1 else "no label there"
    return _Mistake(alarm.image, box_4, f"score {alarm.score:.2f}, {why}", is_detection=True)


def _images(predictions: Predictions, mistakes: Sequence[_Mistake], open_upright: Open) -> list[Thumbnail]:
    thumbnails = []
    for mistake in mistakes:
        labelled = predictions.images[mistake.image]
        image = open_upright(labelled.path)
        if image is not None:
            drawn = _draw(image, predictions, mistake)
            uri = data_uri(drawn, quality=JPEG_QUALITY, optimize=True, progressive=True)
            thumbnails.append(Thumbnail(uri, mistake.caption, labelled.name))
    return thumbnails


def _draw(image: Image.Image, predictions: Predictions, mistake: _Mistake) -> Image.Image:
    """Crops a square around the mistake and draws labels and detections, the mistake itself last."""
    left, top, side = _square(mistake.box_4, image.size)
    # Outside the image a crop is black.
    cut = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), reducing_gap=2.0)
    pen = ImageDraw.Draw(cut)
    labelled, (boxes_M4, scores_M) = predictions.images[mistake.image], predictions.found[mistake.image]
    labelled_N4 = labelled.boxes_N4[~labelled.ignore_N]
    found_N4 = boxes_M4[scores_M >= predictions.threshold]
    boxes = [(box_4, LABEL, 2) for box_4 in labelled_N4] + [(box_4, FOUND, 2) for box_4 in found_N4]
    for box_4, colour, width in [*boxes, (mistake.box_4, FOUND if mistake.is_detection else LABEL, 4)]:
        _outline(pen, (box_4 - [left, top, left, top]) * SIDE / side, colour, width)
    return cut


def _square(box_4: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int]:
    """Returns left, top and side, in pixels, of the square around a box; it lies inside the image if it fits."""
    side = round(min(max(AROUND * float((box_4[2:] - box_4[:2]).max()), LEAST_PIXELS), max(size)))
    left, top = (
        round(min(max(middle - side / 2, 0), length - side)) if side <= length else (length - side) // 2
        for middle, length in zip(((box_4[:2] + box_4[2:]) / 2).tolist(), size, strict=True)
    )
    return left, top, side


def _outline(pen: ImageDraw.ImageDraw, box_4: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    x1, y1, x2, y2 = box_4.tolist()
    if x2 < 0 or y2 < 0 or x1 > SIDE or y1 > SIDE:
        return
    pen.rectangle((x1 - 1, y1 - 1, max(x1, x2) + 1, max(y1, y2) + 1), outline=EDGE, width=width + 2)
    pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=width)
