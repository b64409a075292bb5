"""The decoded cache: a folder of raw pixels, from which crops are read without decoding.

Decoding a JPEG takes longer than cutting a crop, and a training reads each image hundreds of times. Each image is one
file, named by a hash of the image's path, size in bytes and modification time, so that recipes can share the folder and
an interrupted run continues to fill it. The file holds the upright image at its own size, at a half and at a quarter,
row by row, 3 bytes per pixel, and no header: the sizes follow from the image's.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlcycle import files
from mlcycle.datasets.member import ImagePath, Member
from mlcycle.errors import DataError
from mlcycle.training.data.image_input import open_image, upright_rgb, upright_size
from mlcycle.training.data.window import resize, stored_window

LEVELS = 3
# How much disk space to leave free, in bytes.
SPARE = 2 * 1024**3
# After how many images the time that the others take is estimated.
TRIAL = 32
# Longer than writing any image takes.
DRAFT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image's file, and its width and height."""

    file: Path
    size: tuple[int, int]

    def part(
        self, zoom: float, window: tuple[float, float, float, float], size: tuple[int, int]
    ) -> tuple[np.ndarray, tuple[float, float, float, float]]:
        """See crop.Source. Below a zoom of a half, one of the smaller copies is read."""
        level = min(LEVELS - 1, math.floor(-math.log2(zoom))) if zoom < 1 else 0
        sizes = _sizes(self.size)
        place = stored_window(window, self.size, sizes[level])
        x1, y1, x2, y2 = place.stored
        width = sizes[level][0]
        # Whole rows in one read: faster than mapping the file, which causes a page fault per page.
        start = 3 * (sum(across * down for across, down in sizes[:level]) + y1 * width)
        try:
            rows = np.fromfile(self.file, np.uint8, 3 * width * (y2 - y1), offset=start).reshape(y2 - y1, width, 3)
        except (OSError, ValueError):
            raise DataError(
                f"the decoded image {self.file} is missing or truncated", "resume the run to decode it again"
            ) from None
        return resize(rows[:, x1:x2], size), place.real


def decode_all(
    folder: Path,
    images: Sequence[ImagePath],
    advance: Callable[[int, int], None],
    is_stopped: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[ImagePath, Decoded]:
    """Decodes the images that the folder does not hold yet; returns the decoded file of each image.

    Args:
        advance: called after each image with the number of decoded images and the total.
        is_stopped: called after each image; True skips the rest.
        say: called once, when there are more than a few, with their size and the time that they will take.

    Raises:
        DataError: an image cannot be read, or the folder cannot be written or lacks the space.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {path: _place(folder, path) for path in images}
        # Two paths can refer to the same file, which is decoded once.
        missing = list({place.file: (path, place) for path, place in there.items() if not _is_whole(place)}.values())
        _must_have_room(folder, _size(missing))
        trial, rest = missing[:TRIAL], missing[TRIAL:]
        started = time.monotonic()
        _write_all(trial, len(there) - len(missing), len(there), advance, is_stopped)
        if rest:
            minutes = (time.monotonic() - started) * _size(rest) / _size(trial) / 60
            time_left = f"about {round(minutes)} min" if minutes >= 1 else "less than a minute"
            say(f"decoding {len(missing):,} images into {folder}, once: {_size(missing) / 1e9:.1f} GB, {time_left}")
        _write_all(rest, len(there) - len(rest), len(there), advance, is_stopped)
    except OSError as problem:
        raise DataError(
            f"images cannot be decoded into {folder}: {problem.strerror}",
            "choose another folder with data.decoded, or set data.decoded=null",
        ) from None
    return there


def _write_all(
    missing: Sequence[tuple[ImagePath, Decoded]],
    done: int,
    whole: int,
    advance: Callable[[int, int], None],
    is_stopped: Callable[[], bool],
) -> None:
    writers = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for number, _ in enumerate(writers.map(lambda each: _write(*each), missing), done + 1):
            advance(number, whole)
            if is_stopped():
                break
    finally:
        writers.shutdown(cancel_futures=True)


def _place(folder: Path, path: ImagePath) -> Decoded:
    size = upright_size(open_image(path))
    name = hashlib.sha256(_mark(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return Decoded(folder / name[:2] / name, size)


def _mark(path: ImagePath) -> str:
    """Returns a text that identifies an image and changes when its file changes."""
    if isinstance(path, Member):
        return f"{path.shard.resolve()}/{path.name}\n{path.size}\n{path.shard.stat().st_mtime_ns}"
    state = path.stat()
    return f"{path.resolve()}\n{state.st_size}\n{state.st_mtime_ns}"


def _is_whole(decoded: Decoded) -> bool:
    try:
        return decoded.file.stat().st_size == _bytes(decoded.size)
    except OSError:
        return False


def _must_have_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed and needed + SPARE > free:
        raise DataError(
            f"decoded images need {needed / 1e9:.1f} GB in {folder}, but only {free / 1e9:.1f} GB are free",
            "choose another folder with data.decoded, or set data.decoded=null",
        )


def _write(path: ImagePath, decoded: Decoded) -> None:
    image = upright_rgb(open_image(path))
    if image.size != decoded.size:
        raise DataError(f"the decoded size of {path} differs from that in its header", "run: mlcycle data check")
    _remove_drafts(decoded.file.parent)
    with files.atomic(decoded.file, overwrite=True, durable=False) as file:
        for size in _sizes(decoded.size):
            # Each level is resized from the full image, not from the level above.
            small = image if size == image.size else image.resize(size, Image.Resampling.BOX)
            file.write(small.tobytes())


def _remove_drafts(folder: Path) -> None:
    """Removes incomplete files that killed processes left; recent ones may still be written by another process."""
    for draft in files.drafts(folder):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > DRAFT_SECONDS:
                draft.unlink()


def _sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    return [(max(1, size[0] >> level), max(1, size[1] >> level)) for level in range(LEVELS)]


def _size(images: Iterable[tuple[ImagePath, Decoded]]) -> int:
    return sum(_bytes(decoded.size) for _, decoded in images)


def _bytes(size: tuple[int, int]) -> int:
    return sum(width * height * 3 for width, height in _sizes(size))
