"""Inspects an image file by decoding it: errors, size, orientation, digest and thumbnail."""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context, parent_process
from signal import SIG_IGN, SIGINT, signal

import numpy as np
from PIL import Image, ImageOps

from mlcycle.datasets.image_header import SIDEWAYS, orientation
from mlcycle.datasets.member import ImagePath

THUMBNAIL = 32
# Below this number of files, starting processes takes longer than they save.
MIN_FILES_FOR_PROCESSES = 64
MAX_PROCESSES = 16


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The result of inspecting a file.

    Attributes:
        problem: "" for a complete image, "missing", or why it cannot be decoded.
        size: width, height in pixels, upright.
        orientation: EXIF's, 1 (as stored) to 8.
        sha256: hex digest of the file's bytes; "" if missing.
        thumbnail_SS: uint8, grey, upright, 32 x 32.
        format: Pillow's name of it, such as "JPEG"; "" if it cannot be decoded.
    """

    problem: str
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    sha256: str = ""
    thumbnail_SS: np.ndarray | None = None
    format: str = ""


def inspect_files(paths: Sequence[ImagePath], processes: int | None = None) -> Iterator[ImageFile]:
    """Inspects many files, in order, in several processes; None takes one for each core."""
    processes = min(processes or os.cpu_count() or 1, MAX_PROCESSES)
    if processes == 1 or len(paths) < MIN_FILES_FOR_PROCESSES:
        yield from map(inspect_file, paths)
        return
    # Spawned, not forked: a fork would copy locks that other threads of this process hold.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start_worker)
    try:
        yield from pool.map(inspect_file, paths, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Makes a worker process ignore Ctrl-C, which the parent handles, and end with the parent, even a killed one."""
    signal(SIGINT, SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def inspect_file(path: ImagePath) -> ImageFile:
    """Reads and decodes one file; any fault of it is a result, never an exception."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ImageFile("missing")
    except (OSError, ValueError) as problem:  # ValueError: an invalid file name
        return ImageFile(getattr(problem, "strerror", None) or str(problem))
    digest = hashlib.sha256(data).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, digest)
    except Exception as problem:  # Pillow's decoders raise a dozen kinds, struct.error and EOFError among them.
        return ImageFile(_reason(data, problem), sha256=digest)


def _decode(data: bytes, digest: str) -> ImageFile:
    with Image.open(BytesIO(data)) as image:
        exif, kind = orientation(image), image.format or ""
        width, height = image.size
        # A JPEG's draft decodes all bytes to a fraction of the pixels: as strict, and much faster.
        image.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))
        image.load()
        grey = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    to_apply = 1 if kind == "TIFF" else exif  # Pillow applies the orientation of TIFFs itself
    if to_apply != 1:
        grey.getexif()[0x0112] = to_apply
        grey = ImageOps.exif_transpose(grey)
    size = (height, width) if to_apply in SIDEWAYS else (width, height)
    return ImageFile("", size, exif, digest, np.asarray(grey), kind)


def _reason(data: bytes, problem: Exception) -> str:
    if not data:
        return "the file is empty"
    if isinstance(problem, Image.UnidentifiedImageError):
        return "not an image"
    return str(problem) or type(problem).__name__
