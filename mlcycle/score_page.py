"""The conductor of `mlcycle evaluate --page`: an outcome → its page, with pictures of the worst mistakes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from mlcycle.evaluation import matching, page, worst
from mlcycle.evaluation.gallery import Picture
from mlcycle.inference import images
from mlcycle.score import Outcome

# Pictures of each kind, and their sides in pixels: sharp on a phone, and all together far below a megabyte.
PICTURES, SIDE = 24, 208
# How much of a photograph is shown around a box: so many times its longer side, and no less than so many pixels.
AROUND, LEAST_PIXELS = 2.2, 48
LABEL, FOUND, EDGE = (0, 180, 216), (255, 159, 28), (0, 0, 0)
JPEG_QUALITY = 78


@dataclass(frozen=True, slots=True)
class _Mistake:
    """What a picture is to show: a box (x1 y1 x2 y2, pixels) of a photograph, a line about it, and whether the model
    found that box or a label says it."""

    photograph: int
    box_4: np.ndarray
    caption: str
    found: bool


def render(outcome: Outcome) -> str:
    """Returns the page as HTML; of a photograph that cannot be read there is no picture."""
    truths = [(each.boxes_N4, each.ignore_N) for each in outcome.photographs]
    threshold = outcome.figures.balanced.threshold
    misses = [_missed(miss) for miss in worst.misses(outcome.matches, truths, threshold, PICTURES)]
    alarms = [_false_alarm(outcome, alarm) for alarm in worst.false_alarms(outcome.matches, PICTURES)]
    return page.render(outcome.figures, outcome.matches, _pictures(outcome, misses), _pictures(outcome, alarms))


def _missed(miss: worst.Miss) -> _Mistake:
    width, height = miss.box_4[2:] - miss.box_4[:2]
    # Rounded down, so that it does not read as if it had reached the threshold.
    seen = "no box" if math.isnan(miss.score) else f"score {math.floor(miss.score * 100) / 100:.2f}"
    return _Mistake(miss.photograph, miss.box_4, f"{width:.0f} × {height:.0f} px, {seen}", found=False)


def _false_alarm(outcome: Outcome, alarm: worst.FalseAlarm) -> _Mistake:
    photograph = outcome.photographs[alarm.photograph]
    box_4 = outcome.answers[alarm.photograph].boxes_M4[alarm.row]
    faces_N4 = photograph.boxes_N4[~photograph.ignore_N]
    overlap = matching.overlaps(box_4[None], faces_N4, np.zeros(len(faces_N4), bool)).max(initial=0)
    if overlap >= 0.5:
        why = "a second box on a face"
    else:
        why = f"IoU {min(overlap, 0.49):.2f} with a face" if overlap >= 0.1 else "no label there"
    return _Mistake(alarm.photograph, box_4, f"score {alarm.score:.2f}, {why}", found=True)


def _pictures(outcome: Outcome, mistakes: Sequence[_Mistake]) -> list[Picture]:
    pictures = []
    for mistake in mistakes:
        photograph = outcome.photographs[mistake.photograph]
        try:
            image = images.decode(images.read(photograph.path)).upright()
        except images.UnreadableError:
            continue
        pictures.append(Picture(_uri(_draw(image, outcome, mistake)), mistake.caption, photograph.name))
    return pictures


def _draw(image: Image.Image, outcome: Outcome, mistake: _Mistake) -> Image.Image:
    """Cuts a square around the mistake and draws what is labelled and what is found there, the mistake itself last."""
    left, top, side = _square(mistake.box_4, image.size)
    # Where the square is larger than the photograph, what lies outside is black.
    cut = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), reducing_gap=2.0)
    pen = ImageDraw.Draw(cut)
    photograph, answer = outcome.photographs[mistake.photograph], outcome.answers[mistake.photograph]
    labelled_N4 = photograph.boxes_N4[~photograph.ignore_N]
    found_N4 = answer.boxes_M4[answer.scores_M >= outcome.figures.balanced.threshold]
    boxes = [(box_4, LABEL, 2) for box_4 in labelled_N4] + [(box_4, FOUND, 2) for box_4 in found_N4]
    for box_4, colour, width in [*boxes, (mistake.box_4, FOUND if mistake.found else LABEL, 4)]:
        _outline(pen, (box_4 - [left, top, left, top]) * SIDE / side, colour, width)
    return cut


def _square(box_4: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int]:
    """Returns left, top and side, in pixels, of the square shown around a box: inside the photograph where it fits."""
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


def _uri(picture: Image.Image) -> str:
    memory = io.BytesIO()
    picture.save(memory, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(memory.getvalue()).decode()}"
