"""Sample images of installed packages: their paths, and those that the demo keeps out of training."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mlcycle import files

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Unseen:
    """An image that is not used for training.

    Attributes:
        name: of its file in the demo's folder.
        box_4: its face, x1 y1 x2 y2 in pixels (forehead to chin, ear to ear), located by eye; None without a face.
        caption: what it shows, in a few words.
        source: who made it, and its licence.
    """

    name: str
    package: str
    path: str
    box_4: Box | None
    caption: str
    source: str


UNSEEN = (
    Unseen(
        "astronaut.png",
        "skimage",
        "data/astronaut.png",
        (178.0, 76.0, 270.0, 181.0),
        "Eileen Collins, astronaut",
        "NASA, public domain; from scikit-image",
    ),
    Unseen(
        "grace_hopper.jpg",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        (160.0, 132.0, 366.0, 334.0),
        "Grace Hopper, admiral and computer scientist",
        "James S. Davis, US Navy, public domain; from matplotlib",
    ),
    Unseen(
        "coffee.png",
        "skimage",
        "data/coffee.png",
        None,
        "a cup of coffee, and no face",
        "Rachel Michetti, CC0; from scikit-image",
    ),
)


def package_folder(package: str) -> Path:
    """Returns the folder of a package without importing it, which would be slow.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(found.origin).parent


def write_unseen(folder: Path) -> list[Path]:
    """Copies the unseen images into a folder and returns their paths; existing files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / each.name for each in UNSEEN]
    for each, path in zip(UNSEEN, paths, strict=True):
        if not path.exists():
            files.write(path, (package_folder(each.package) / each.path).read_bytes(), overwrite=True)
    return paths


def contact_sheet(paths: list[Path], columns: int, side: int) -> Image.Image:
    """Returns the images as one image, each resized to a square of `side` pixels."""
    rows = -(-len(paths) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side))
    for index, path in enumerate(paths):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (index % columns * side, index // columns * side))
    return sheet


def overlap(one_4: Box, other_4: Box) -> float:
    """Returns the intersection over union of two boxes, x1 y1 x2 y2."""

    def area(box_4: Box) -> float:
        return max(0.0, box_4[2] - box_4[0]) * max(0.0, box_4[3] - box_4[1])

    shared = area(
        (max(one_4[0], other_4[0]), max(one_4[1], other_4[1]), min(one_4[2], other_4[2]), min(one_4[3], other_4[3]))
    )
    return shared / (area(one_4) + area(other_4) - shared) if shared else 0.0
