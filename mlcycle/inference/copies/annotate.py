"""Draws detections onto a copy of the image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_BOX = (0, 214, 143)
_INK = (6, 32, 22)
_POINT = (255, 196, 0)


def draw(
    image: Image.Image, boxes_N4: np.ndarray, scores_N: np.ndarray, landmarks_N52: np.ndarray | None
) -> Image.Image:
    """Returns a copy of an upright RGB image with boxes (x1 y1 x2 y2, pixels), scores and landmarks drawn on it.

    Lines and text scale with the image, and are smaller for faces that they would cover.
    """
    copy = image.copy()
    pen = ImageDraw.Draw(copy)
    # The best face is drawn last, so that its label is on top.
    for row in reversed(range(len(scores_N))):
        box_4 = boxes_N4[row]
        line = _line_width(image.size, box_4)
        pen.rounded_rectangle(_ordered(box_4), radius=2 * line, outline=_BOX, width=line)
        if landmarks_N52 is not None:
            _draw_points(pen, landmarks_N52[row], radius=min(max(1.0, 0.8 * line), _side(box_4) / 24))
    for row in reversed(range(len(scores_N))):
        _draw_label(pen, f"{scores_N[row]:.2f}", boxes_N4[row], image.size)
    return copy


def _line_width(size: tuple[int, int], box_4: np.ndarray) -> int:
    for_image = max(size) / 320
    for_face = max(1.0, _side(box_4) / 12)
    return max(1, round(min(for_image, for_face)))


def _side(box_4: np.ndarray) -> float:
    return max(0.0, float(min(box_4[2:] - box_4[:2])))


def _draw_points(pen: ImageDraw.ImageDraw, points_52: np.ndarray, radius: float) -> None:
    for x, y in points_52.tolist():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_POINT)


def _draw_label(pen: ImageDraw.ImageDraw, text: str, box_4: np.ndarray, size: tuple[int, int]) -> None:
    x1, y1, x2, _ = box_4.tolist()
    font_size = max(9.0, min(max(size) / 45, (x2 - x1) / 2.6))
    font = ImageFont.load_default(font_size)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = font_size / 4
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    if width > x2 - x1:
        return  # it would cover neighbouring faces
    x = min(max(0.0, x1), max(0.0, size[0] - width))
    y = y1 - height if y1 >= height else min(y1, size[1] - height)
    pen.rounded_rectangle((x, y, x + width, y + height), radius=pad, fill=_BOX)
    pen.text((x + pad - left, y + pad - top), text, font=font, fill=_INK)


def _ordered(box_4: np.ndarray) -> tuple[float, float, float, float]:
    # Pixel x2 is the first one outside; Pillow needs ordered corners even for a box without area.
    x1, y1, x2, y2 = box_4.tolist()
    return x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)
