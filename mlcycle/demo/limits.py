"""What the demo's model cannot do: images with faces of kinds that its training did not have.

All but one are made from the unseen images, so that each differs in one thing from an image whose face is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from mlcycle import files
from mlcycle.counted import counted
from mlcycle.demo.source_images import UNSEEN, Box, Unseen, overlap, package_folder

ASTRONAUT, HOPPER, COFFEE = UNSEEN
# A portrait is a square of ROOM times the height of its face, with ABOVE times that height above it.
ROOM, ABOVE = 2.5, 0.45
COLUMNS, ROWS, SIDE = 6, 3, 160
DEGREES, LARGE = 45, 480
# A print on the table beside the cup: its corner and side in pixels.
PRINT, PRINT_SIDE = (512, 300), 72
# Located by eye, as those of the unseen images.
CAMERAMAN: Box = (180.0, 127.0, 255.0, 197.0)
CAMERAMAN_SOURCE = "a cameraman (Lav Varshney, CC0; from scikit-image)"

Made = tuple[Image.Image, list[Box]]


@dataclass(frozen=True, slots=True)
class Limit:
    """An image: the name of its file, its faces (x1 y1 x2 y2, pixels), and what is special about them."""

    name: str
    boxes: tuple[Box, ...]
    caption: str


@dataclass(frozen=True, slots=True)
class LimitResult:
    """The detections of the frozen model in such an image, x1 y1 x2 y2 in pixels."""

    limit: Limit
    found: tuple[Box, ...]

    @property
    def missed(self) -> list[Box]:
        """Returns the faces that no detection meets with an IoU of 0.5."""
        return [box_4 for box_4 in self.limit.boxes if not any(overlap(box_4, each) >= 0.5 for each in self.found)]

    @property
    def false_alarms(self) -> int:
        """Returns the number of detections that meet no face."""
        return sum(all(overlap(box_4, each) < 0.5 for box_4 in self.limit.boxes) for each in self.found)

    @property
    def is_right(self) -> bool:
        """Returns whether all faces were found, and nothing else."""
        return not self.missed and not self.false_alarms

    @property
    def verdict(self) -> str:
        """Returns the result in one sentence."""
        faces = len(self.limit.boxes)
        one = "The face was not found" if self.missed else "The face was found"
        text = one if faces == 1 else f"{faces - len(self.missed)} of {faces} faces were found"
        return f"{text}, and {counted(self.false_alarms, 'false alarm')}." if self.false_alarms else f"{text}."


def write_limits(folder: Path) -> list[Limit]:
    """Writes the images into a folder, and returns what they show; existing files are kept."""
    limits = []
    for name, (make, caption) in MAKERS.items():
        image, boxes = make()
        if not (folder / name).exists():
            memory = BytesIO()
            image.save(memory, "JPEG", quality=92)
            files.write(folder / name, memory.getvalue())
        limits.append(Limit(name, tuple(boxes), caption))
    return limits


def _dark() -> Made:
    return ImageEnhance.Brightness(_opened(HOPPER)).enhance(0.2), [_face(HOPPER)]


def _tilted() -> Made:
    image, [(x1, y1, x2, y2)] = _portrait(HOPPER, LARGE)
    # The face is not in the middle, about which the image turns: its centre moves, and its size stays.
    x, y, angle = (x1 + x2 - LARGE) / 2, (y1 + y2 - LARGE) / 2, math.radians(DEGREES)
    across = x * math.cos(angle) + y * math.sin(angle) - x
    down = y * math.cos(angle) - x * math.sin(angle) - y
    turned = image.rotate(DEGREES, Image.Resampling.BICUBIC, fillcolor=image.getpixel((LARGE - 1, 0)))
    return turned, [_shifted((x1, y1, x2, y2), across, down)]


def _profile() -> Made:
    with Image.open(package_folder("skimage") / "data" / "camera.png") as file:
        return file.convert("RGB"), [CAMERAMAN]


def _far() -> Made:
    table, (portrait, [box_4]) = _opened(COFFEE), _portrait(HOPPER, PRINT_SIDE)
    table.paste(ImageOps.expand(portrait, 3, "white"), (PRINT[0] - 3, PRINT[1] - 3))
    return table, [_shifted(box_4, *PRINT)]


def _group() -> Made:
    sheet, boxes = Image.new("RGB", (COLUMNS * SIDE, ROWS * SIDE)), []
    for place in range(COLUMNS * ROWS):
        row, column = divmod(place, COLUMNS)
        portrait, [box_4] = _portrait((ASTRONAUT, HOPPER)[(row + column) % 2], SIDE)
        sheet.paste(portrait, (column * SIDE, row * SIDE))
        boxes.append(_shifted(box_4, column * SIDE, row * SIDE))
    return sheet, boxes


MAKERS: dict[str, tuple[Callable[[], Made], str]] = {
    "dark.jpg": (_dark, "The same portrait, five times darker. The scenes have many lights"),
    "tilted.jpg": (_tilted, f"The same portrait, tilted by {DEGREES} degrees. In the scenes all faces are upright"),
    "profile.jpg": (_profile, "A man seen from the side. In the scenes all faces look into the camera"),
    "far.jpg": (_far, "The same portrait as a small print. Too few pixels are left of the face"),
    "group.jpg": (_group, f"{COLUMNS * ROWS} portraits on one sheet, with faces as small as in a photo of a group"),
}


def _opened(unseen: Unseen) -> Image.Image:
    with Image.open(package_folder(unseen.package) / unseen.path) as file:
        return file.convert("RGB")


def _face(unseen: Unseen) -> Box:
    assert unseen.box_4
    return unseen.box_4


def _portrait(unseen: Unseen, side: int) -> Made:
    """Cuts a square around the face out of an unseen image, and returns it with `side` pixels a side."""
    image, (x1, y1, x2, y2) = _opened(unseen), _face(unseen)
    whole = ROOM * (y2 - y1)
    left = min(max(0.0, (x1 + x2 - whole) / 2), image.width - whole)
    top = max(0.0, y1 - ABOVE * (y2 - y1))
    cut = image.resize((side, side), Image.Resampling.LANCZOS, box=(left, top, left + whole, top + whole))
    scale = side / whole
    return cut, [((x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale)]


def _shifted(box_4: Box, x: float, y: float) -> Box:
    return box_4[0] + x, box_4[1] + y, box_4[2] + x, box_4[3] + y
