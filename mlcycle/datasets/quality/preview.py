"""A contact sheet: images with their labels drawn, for a visual check of a set."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mlcycle import files
from mlcycle.counted import counted
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath, for_pillow
from mlcycle.errors import InputError

CELL_WIDTH, CELL_HEIGHT, CAPTION, GAP = 400, 300, 40, 8
BACKGROUND, PLACEHOLDER, TEXT, FAINT = (24, 26, 30), (38, 41, 47), (235, 237, 240), (150, 156, 166)
FACE, IGNORED, DARK = (64, 224, 120), (255, 150, 40), (0, 0, 0)
POINTS = ((255, 80, 80), (80, 160, 255), (255, 230, 60), (255, 120, 220), (90, 230, 230))
POINT_NAMES = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
# In the sheet's pixels: the least height of a face with landmarks, and the height for each pixel of a dot's radius.
LEAST_WITH_POINTS, FACE_PER_DOT = 12, 24
MAX_COLUMNS = 6
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def choose(images: Sequence[LabelledImage], count: int, seed: int) -> list[LabelledImage]:
    """Chooses random images, the same ones for the same seed, in the set's order."""
    chosen = random.Random(seed).sample(range(len(images)), min(count, len(images)))
    return [images[index] for index in sorted(chosen)]


def draw_sheet(
    images: Sequence[LabelledImage], title: str, advance: Callable[[int], None] = lambda n: None
) -> Image.Image:
    """Draws a contact sheet: upright images, faces in green, ignored boxes dashed in orange, landmarks as dots.

    Faces lower than LEAST_WITH_POINTS have no dots, which would hide them. The cell of an unreadable image has the
    reason. `advance` is called with 1 after each image.
    """
    columns = _columns(len(images))
    rows = -(-len(images) // columns)
    width, height = CELL_WIDTH + GAP, CELL_HEIGHT + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP + CAPTION), BACKGROUND)
    _draw_title(sheet, title)
    for index, image in enumerate(images):
        at = GAP + index % columns * width, CAPTION + GAP + index // columns * height
        sheet.paste(_cell(image), at)
        advance(1)
    return sheet


def must_be_free(path: Path, *, overwrite: bool = False) -> None:
    """Checks before the work starts that a sheet can be written.

    Raises:
        InputError: the file exists and `overwrite` is False, or it has another suffix than those of FORMATS.
    """
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists", "choose another name with -o, or pass --overwrite")
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path} does not have the suffix of an image", "end it with .jpg, .png or .webp")


def write_sheet(sheet: Image.Image, path: Path, *, overwrite: bool = False) -> None:
    """Writes the sheet atomically, in the format of its suffix.

    Raises:
        InputError: the file exists and `overwrite` is False, or it cannot be written.
    """
    must_be_free(path, overwrite=overwrite)
    with files.attributed(path, "choose another place"), files.atomic(path, overwrite=overwrite) as file:
        sheet.save(file, FORMATS[path.suffix.lower()], quality=90)


def _columns(count: int) -> int:
    """Returns the number of columns that makes the sheet about 4 to 3, at most MAX_COLUMNS."""
    return max(1, min(MAX_COLUMNS, round((count * 1.15) ** 0.5)))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _draw_title(sheet: Image.Image, title: str) -> None:
    draw = ImageDraw.Draw(sheet)
    font = _font(15)
    legend = [("face", FACE), ("ignored", IGNORED), *zip(POINT_NAMES, POINTS, strict=True)]
    right = sheet.width - GAP
    space = right - GAP - draw.textlength(title, font) - 24
    # A narrow sheet has no space for the legend of the landmarks.
    while legend and sum(draw.textlength(name, font) + 30 for name, _ in legend) > space:
        legend.pop()
    draw.text((GAP, 14), title, TEXT, font)
    for name, colour in reversed(legend):
        right -= int(draw.textlength(name, font))
        draw.text((right, 14), name, FAINT, font)
        right -= 16
        draw.rectangle((right, 18, right + 10, 28), fill=colour)
        right -= 14


def _cell(labelled: LabelledImage) -> Image.Image:
    cell = Image.new("RGB", (CELL_WIDTH, CELL_HEIGHT + CAPTION), PLACEHOLDER)
    draw = ImageDraw.Draw(cell)
    try:
        image, scale = _image(labelled.path)
    except Exception as problem:  # Pillow's decoders raise a dozen kinds; the sheet shows the rest all the same.
        _write_centred(draw, "cannot be read:", CELL_HEIGHT // 2 - 20, TEXT)
        _write_centred(draw, str(problem) or type(problem).__name__, CELL_HEIGHT // 2 + 2, IGNORED)
    else:
        _draw_labels(image, labelled, scale)
        cell.paste(image, ((CELL_WIDTH - image.width) // 2, (CELL_HEIGHT - image.height) // 2))
    ignored = int(labelled.ignore_N.sum())
    faces = len(labelled.ignore_N) - ignored
    count = f"{counted(faces, 'face')}" + (f", {ignored} ignored" if ignored else "")
    draw.text((6, CELL_HEIGHT + 4), _elided(draw, labelled.name, CELL_WIDTH - 12, 13), TEXT, _font(13))
    draw.text((6, CELL_HEIGHT + 21), count, FAINT, _font(13))
    return cell


def _image(path: ImagePath) -> tuple[Image.Image, float]:
    """Decodes an image upright and small enough for a cell; returns it and cell pixels per image pixel."""
    with Image.open(for_pillow(path)) as image:
        width, height = image.size
        image.draft("RGB", (2 * CELL_WIDTH, 2 * CELL_WIDTH))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    if (upright.width > upright.height) != (width > height):
        width, height = height, width
    scale = min(CELL_WIDTH / width, CELL_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return upright.resize(size, Image.Resampling.LANCZOS), scale


def _draw_labels(image: Image.Image, labelled: LabelledImage, scale: float) -> None:
    draw = ImageDraw.Draw(image)
    usable_N = np.isfinite(labelled.boxes_N4).all(axis=1)
    for box_4, ignored in zip(labelled.boxes_N4[usable_N], labelled.ignore_N[usable_N], strict=True):
        x1, y1, x2, y2 = (float(value) for value in box_4 * scale)
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
        if ignored:
            _dashed(draw, corners)
        else:
            # A dark line below the bright one keeps it visible on any background.
            thick = 2 if min(x2 - x1, y2 - y1) > 14 else 1
            if thick > 1:
                draw.line(corners, DARK, thick + 2)
            draw.line(corners, FACE, thick)
    for points_52, box_4 in zip(labelled.landmarks_N52, labelled.boxes_N4, strict=True):
        _draw_points(draw, points_52 * scale, height=float(box_4[3] - box_4[1]) * scale)


def _draw_points(draw: ImageDraw.ImageDraw, points_52: np.ndarray, height: float) -> None:
    """Draws landmarks as dots that hide at most a tenth of a face of this height in the sheet's pixels."""
    if height < LEAST_WITH_POINTS:
        return
    radius = min(4.0, height / FACE_PER_DOT)
    for (x, y), colour in zip(points_52, POINTS, strict=True):
        if not np.isfinite(x + y):
            continue
        if radius < 1:
            draw.point((round(x), round(y)), colour)
        else:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour, DARK if radius > 2 else None)


def _dashed(draw: ImageDraw.ImageDraw, corners: list[tuple[float, float]], dash: float = 5) -> None:
    for (x1, y1), (x2, y2) in pairwise(corners):
        length = max(abs(x2 - x1), abs(y2 - y1))
        for start in np.arange(0, max(length, 1), 2 * dash):
            a, b = start / max(length, 1), min(1, (start + dash) / max(length, 1))
            ends = [(x1 + (x2 - x1) * share, y1 + (y2 - y1) * share) for share in (a, b)]
            draw.line(ends, IGNORED, 2)


def _elided(draw: ImageDraw.ImageDraw, text: str, width: float, size: int) -> str:
    """Replaces the middle of a text that is too long by an ellipsis: names differ at their ends."""
    font = _font(size)
    if draw.textlength(text, font) <= width:
        return text
    kept = len(text)
    while kept > 4 and draw.textlength(f"{text[: kept // 2]}…{text[-kept // 2 :]}", font) > width:
        kept -= 1
    return f"{text[: kept // 2]}…{text[-kept // 2 :]}"


def _write_centred(draw: ImageDraw.ImageDraw, text: str, y: int, colour: tuple[int, int, int]) -> None:
    text = _elided(draw, text, CELL_WIDTH - 20, 14)
    draw.text(((CELL_WIDTH - draw.textlength(text, _font(14))) / 2, y), text, colour, _font(14))
