"""The images of a measurement: those of a folder, or generated ones."""

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
# Width and height, landscape and portrait, about a megapixel each.
SIZES = ((1152, 864), (864, 1152), (1224, 816), (1024, 1024))
# Changes with the generated pixels: measurements on different editions are not comparable.
EDITION = "synthetic 1"


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images on disk.

    Attributes:
        paths: in order.
        kind: "folder" or "synthetic".
        fingerprint: depends on the images, not on the name of their folder.
    """

    paths: tuple[Path, ...]
    kind: str
    fingerprint: str


@contextmanager
def opened(folder: Path | None) -> Iterator[ImageSet]:
    """Finds the images below a folder; for None generates some in a temporary folder, which is removed after the block.

    Raises:
        InputError: the folder does not exist, cannot be read, or has no images.
    """
    if folder is not None:
        yield _from_folder(folder)
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mlcycle-bench-") as scratch:
        yield synthetic(Path(scratch))


def synthetic(folder: Path, count: int = SYNTHETIC) -> ImageSet:
    """Writes JPEGs of about a megapixel: soft shapes in three sizes, and noise. The pixels are always the same."""
    random = np.random.default_rng(0)
    noise_HW1 = random.normal(0, 3, (max(SIZES)[0],) * 2 + (1,)).astype(np.float32)
    paths = []
    for number in range(count):
        paths.append(folder / f"{number:02d}.jpg")
        _image(random, SIZES[number % len(SIZES)], noise_HW1).save(paths[-1], quality=90)
    return ImageSet(tuple(paths), "synthetic", EDITION)


def _image(random: np.random.Generator, size: tuple[int, int], noise_HW1: np.ndarray) -> Image.Image:
    width, height = size
    pixels_HW3 = 128 + noise_HW1[:height, :width]
    for step, strength in ((288, 60), (72, 25), (18, 10)):
        knots_HW3 = random.integers(0, 256, (height // step + 2, width // step + 2, 3), np.uint8)
        shapes = Image.fromarray(knots_HW3).resize(size, Image.Resampling.BICUBIC)
        pixels_HW3 = pixels_HW3 + (np.asarray(shapes, np.float32) / 128 - 1) * strength
    return Image.fromarray(np.clip(pixels_HW3, 0, 255).astype(np.uint8))


def _from_folder(folder: Path) -> ImageSet:
    import hashlib

    found = from_folder(folder)
    if not len(found):
        raise InputError(f"{folder} contains no images", f"{found.others} other files were skipped")
    digest = hashlib.sha256()
    for source in found:
        digest.update(f"{source.key}\0{_size(source.path)}\0".encode("utf-8", "surrogateescape"))
    return ImageSet(tuple(source.path for source in found), "folder", digest.hexdigest()[:16])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # the request fails and is counted later
        return -1
