"""The worst mistakes of a detector as small images: each with what is labelled and what is found there.

What opens an image is given, for training and inference read images each in its own way.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath
from mlcycle.evaluation import matching, worst
from mlcycle.evaluation.matches import Matches, Prediction
from mlcycle.reporting.gallery import Thumbnail

# Images of each kind, and their sides in pixels: sharp on a phone, and all together far below a megabyte.
THUMBNAILS, SIDE = 24, 208
# How much of an image is shown around a box: so many times its longer side, and no less than so many pixels.
AROUND, LEAST_PIXELS = 2.2, 48
LABEL, FOUND, EDGE = (0, 180, 216), (255, 159, 28), (0, 0, 0)
JPEG_QUALITY = 72


@dataclass(frozen=True, slots=True)
class Seen:
    """What the mistakes are of: images, what was found in each (boxes_M4, x1 y1 x2 y2 in pixels, and scores_M),
    what comparing both gave, and the least score of a face."""

    images: Sequence[LabelledImage]
    found: Sequence[Prediction]
    matches: Matches
    threshold: float


Open = Callable[[ImagePath], Image.Image | None]


@dataclass(frozen=True, slots=True)
class _Mistake:
    """What an image is to show: a box (x1 y1 x2 y2, pixels) of an image, a line about it, and whether the model
    found that box or a label says it."""

    image: int
    box_4: np.ndarray
    caption: str
    found: bool


def misses(seen: Seen, open_upright: Open) -> list[Thumbnail]:
    """Returns images of the largest faces that were missed.

    Args:
        open_upright: gives an image upright in RGB, or None where it cannot be read; then there is no image.
    """
    truths = [(each.boxes_N4, each.ignore_N) for each in seen.images]
    missed = worst.misses(seen.matches, truths, seen.threshold, THUMBNAILS)
    return _images(seen, [_missed(each) for each in missed], open_upright)


def false_alarms(seen: Seen, open_upright: Open) -> list[Thumbnail]:
    """Returns images of the detections of nothing that have the highest scores; arguments as for `misses`."""
    alarms = worst.false_alarms(seen.matches, THUMBNAILS)
    return _images(seen, [_false_alarm(seen, each) for each in alarms], open_upright)


def _missed(miss: worst.Miss) -> _Mistake:
    width, height = miss.box_4[2:] - miss.box_4[:2]
    # Rounded down, so that it does not read as if it had reached the threshold.
    score = "no box" if math.isnan(miss.score) else f"score {math.floor(miss.score * 100) / 100:.2f}"
    return _Mistake(miss.image, miss.box_4, f"{width:.0f} × {height:.0f} px, {score}", found=False)


def _false_alarm(seen: Seen, alarm: worst.FalseAlarm) -> _Mistake:
    image = seen.images[alarm.image]
    box_4 = seen.found[alarm.image][0][alarm.row]
    faces_N4 = image.boxes_N4[~image.ignore_N]
    overlap = matching.overlaps(box_4[None], faces_N4, np.zeros(len(faces_N4), bool)).max(initial=0)
    if overlap >= 0.5:
        why = "a second box on a face"
    else:
        why = f"IoU {min(overlap, 0.49):.2f} with a face" if overlap >= 0.1 else "no label there"
    return _Mistake(alarm.image, box_4, f"score {alarm.score:.2f}, {why}", found=True)


def _images(seen: Seen, mistakes: Sequence[_Mistake], open_upright: Open) -> list[Thumbnail]:
    thumbnails = []
    for mistake in mistakes:
        labelled = seen.images[mistake.image]
        image = open_upright(labelled.path)
        if image is not None:
            thumbnails.append(Thumbnail(_uri(_draw(image, seen, mistake)), mistake.caption, labelled.name))
    return thumbnails


def _draw(image: Image.Image, seen: Seen, mistake: _Mistake) -> Image.Image:
    """Cuts a square around the mistake and draws what is labelled and what is found there, the mistake itself last."""
    left, top, side = _square(mistake.box_4, image.size)
    # Where the square is larger than the image, what lies outside is black.
    cut = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), reducing_gap=2.0)
    pen = ImageDraw.Draw(cut)
    labelled, (boxes_M4, scores_M) = seen.images[mistake.image], seen.found[mistake.image]
    labelled_N4 = labelled.boxes_N4[~labelled.ignore_N]
    found_N4 = boxes_M4[scores_M >= seen.threshold]
    boxes = [(box_4, LABEL, 2) for box_4 in labelled_N4] + [(box_4, FOUND, 2) for box_4 in found_N4]
    for box_4, colour, width in [*boxes, (mistake.box_4, FOUND if mistake.found else LABEL, 4)]:
        _outline(pen, (box_4 - [left, top, left, top]) * SIDE / side, colour, width)
    return cut


def _square(box_4: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int]:
    """Returns left, top and side, in pixels, of the square shown around a box: inside the image where it fits."""
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


def _uri(image: Image.Image) -> str:
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)
    return f"data:image/jpeg;base64,{base64.b64encode(memory.getvalue()).decode()}"
