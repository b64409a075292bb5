"""The contact sheet of suspects: crops of their images, with the label and the model's detection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mlcycle.evaluation.contradiction import OTHER_POINTS
from mlcycle.inference.decoding import images
from mlcycle.workflows.predictions import bytes_of
from mlcycle.workflows.suspects import Suspect

SIDE, CAPTION, GAP, COLUMNS, HEAD = 220, 52, 8, 6, 44
AROUND, LEAST_PIXELS = 2.4, 48
BACKGROUND, PLACEHOLDER, TEXT, FAINT, EDGE = (24, 26, 30), (38, 41, 47), (235, 237, 240), (150, 156, 166), (0, 0, 0)
LABEL, OTHER, SUGGESTION = (0, 180, 216), (0, 90, 108), (255, 159, 28)


def draw_sheet(suspects: Sequence[Suspect], title: str, advance: Callable[[int], None] = lambda n: None) -> Image.Image:
    """Draws the suspects in order, row by row: the label in blue, the detection in orange, other labels dark.

    The cell of an unreadable image has the error code. `advance` is called with 1 after each.
    """
    columns = min(COLUMNS, max(3, len(suspects)))
    rows = -(-len(suspects) // columns)
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * (SIDE + CAPTION + GAP) + HEAD), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    _draw_title(pen, title, sheet.width)
    for index, suspect in enumerate(suspects):
        left, top = GAP + index % columns * (SIDE + GAP), HEAD + index // columns * (SIDE + CAPTION + GAP)
        sheet.paste(_cell(suspect), (left, top))
        _caption(pen, suspect, index + 1, (left, top + SIDE + 4))
        advance(1)
    return sheet


def _draw_title(pen: ImageDraw.ImageDraw, title: str, width: int) -> None:
    pen.text((GAP, 12), title, TEXT, _font(15))
    right = width - GAP
    for name, colour in (("other labels", OTHER), ("the detection", SUGGESTION), ("the label", LABEL)):
        right -= int(pen.textlength(name, _font(13)))
        if right - 20 < GAP + pen.textlength(title, _font(15)):
            return
        pen.text((right, 14), name, FAINT, _font(13))
        right -= 16
        pen.rectangle((right, 17, right + 10, 27), fill=colour)
        right -= 14


def _cell(suspect: Suspect) -> Image.Image:
    try:
        image = images.decode(bytes_of(suspect.image.path)).upright()
    except images.UnreadableError as problem:
        cell = Image.new("RGB", (SIDE, SIDE), PLACEHOLDER)
        ImageDraw.Draw(cell).text((8, SIDE // 2), problem.code, SUGGESTION, _font(13))
        return cell
    left, top, side = _square(suspect, image.size)
    cut = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), reducing_gap=2.0)
    pen, labelled = ImageDraw.Draw(cut), suspect.image

    def outline(box_4: np.ndarray | None, colour: tuple[int, int, int], width: int) -> None:
        if box_4 is not None:
            _outline(pen, (box_4.astype(float) - [left, top, left, top]) * SIDE / side, colour, width)

    for row in np.flatnonzero(~labelled.ignore_N):
        if row != suspect.label - 1:
            outline(labelled.boxes_N4[row], OTHER, 1)
    outline(suspect.labelled_4, LABEL, 2)
    outline(suspect.suggested_4, SUGGESTION, 2)
    if suspect.kind == OTHER_POINTS:
        _dots(pen, (labelled.landmarks_N52[suspect.label - 1] - [left, top]) * SIDE / side)
    return cut


def _square(suspect: Suspect, size: tuple[int, int]) -> tuple[int, int, int]:
    """Returns left, top and side in pixels of the square around both boxes, inside the image if it fits."""
    boxes_K4 = np.array([each for each in (suspect.labelled_4, suspect.suggested_4) if each is not None], float)
    corner_2, end_2 = boxes_K4[:, :2].min(axis=0), boxes_K4[:, 2:].max(axis=0)
    side = round(min(max(AROUND * float((end_2 - corner_2).max()), LEAST_PIXELS), max(size)))
    left, top = (
        round(min(max(middle - side / 2, 0), length - side)) if side <= length else (length - side) // 2
        for middle, length in zip(((corner_2 + end_2) / 2).tolist(), size, strict=True)
    )
    return left, top, side


def _outline(pen: ImageDraw.ImageDraw, box_4: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    x1, y1, x2, y2 = box_4.tolist()
    if x2 < 0 or y2 < 0 or x1 > SIDE or y1 > SIDE:
        return
    if width > 1:
        pen.rectangle((x1 - 1, y1 - 1, max(x1, x2) + 1, max(y1, y2) + 1), outline=EDGE, width=width + 2)
    pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=width)


def _dots(pen: ImageDraw.ImageDraw, points_52: np.ndarray) -> None:
    for x, y in points_52[np.isfinite(points_52).all(axis=1)].tolist():
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), LABEL, EDGE)


def _caption(pen: ImageDraw.ImageDraw, suspect: Suspect, rank: int, at: tuple[int, int]) -> None:
    score = f", score {suspect.score:.2f}" if suspect.score else ""
    pen.text(at, f"{rank}. {suspect.kind}{score}", TEXT, _font(13))
    name = suspect.image.name.rpartition("/")[2].encode("utf-8", "backslashreplace").decode()
    label = f", label {suspect.label}" if suspect.label else ""
    line = f"{suspect.bits:.1f} bits{label}"
    pen.text((at[0], at[1] + 16), line, FAINT, _font(12))
    while name and pen.textlength(name, _font(12)) > SIDE:
        name = name[1:]
    pen.text((at[0], at[1] + 31), name, FAINT, _font(12))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
