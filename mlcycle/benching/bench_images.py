"""The images that answers are asked for: those of a folder, or some that are made for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlcycle.errors import InputError
from mlcycle.inference.sources import from_folder

SYNTHETIC = 20
# Wide and upright, about a megapixel each, as width and height.
SIZES = ((1152, 864), (864, 1152), (1224, 816), (1024, 1024))
# Changes whenever the pixels do that are made here: figures of one edition do not compare with another's.
EDITION = "synthetic 1"


@dataclass(frozen=True, slots=True)
class Album:
    """Images on disk.

    Attributes:
        paths: where they lie, in order.
        kind: "folder" or "synthetic".
        fingerprint: the same for the same images, whatever their folder is called.
    """

    paths: tuple[Path, ...]
    kind: str
    fingerprint: str


@contextmanager
def opened(folder: Path | None) -> Iterator[Album]:
    """Finds the images below a folder; for None makes some in a temporary folder, which goes with the block.

    Raises:
        InputError: the folder is not there, cannot be read, or holds none.
    """
    if folder is not None:
        yield _of_folder(folder)
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mlcycle-bench-") as scratch:
        yield synthetic(Path(scratch))


def synthetic(folder: Path, count: int = SYNTHETIC) -> Album:
    """Writes JPEGs of about a megapixel: soft shapes in three sizes, and grain. The same pixels each time, no faces."""
    random = np.random.default_rng(0)
    grain_HW1 = random.normal(0, 3, (max(SIZES)[0],) * 2 + (1,)).astype(np.float32)
    paths = []
    for number in range(count):
        paths.append(folder / f"{number:02d}.jpg")
        _image(random, SIZES[number % len(SIZES)], grain_HW1).save(paths[-1], quality=90)
    return Album(tuple(paths), "synthetic", EDITION)


def _image(random: np.random.Generator, size: tuple[int, int], grain_HW1: np.ndarray) -> Image.Image:
    width, height = size
    pixels_HW3 = 128 + grain_HW1[:height, :width]
    for step, strength in ((288, 60), (72, 25), (18, 10)):
        knots_HW3 = random.integers(0, 256, (height // step + 2, width // step + 2, 3), np.uint8)
        shapes = Image.fromarray(knots_HW3).resize(size, Image.Resampling.BICUBIC)
        pixels_HW3 = pixels_HW3 + (np.asarray(shapes, np.float32) / 128 - 1) * strength
    return Image.fromarray(np.clip(pixels_HW3, 0, 255).astype(np.uint8))


def _of_folder(folder: Path) -> Album:
    import hashlib

    found = from_folder(folder)
    if not len(found):
        raise InputError(f"{folder} holds no images", f"{found.others} other files were passed over")
    digest = hashlib.sha256()
    for source in found:
        digest.update(f"{source.key}\0{_size(source.path)}\0".encode("utf-8", "surrogateescape"))
    return Album(tuple(source.path for source in found), "folder", digest.hexdigest()[:16])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it will fail to answer, and be counted there
        return -1
