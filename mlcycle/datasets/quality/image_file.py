"""One image's file, read to its end: is it whole, how large, how turned, and what does it look like."""

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
# Below this number the processes would take longer to start than they save.
WORTH_PROCESSES = 64
MOST_PROCESSES = 16


@dataclass(frozen=True, slots=True)
class ImageFile:
    """What a file turned out to be.

    Attributes:
        problem: "" for a whole image, "missing", or why it cannot be decoded.
        size: width, height in pixels, upright.
        orientation: EXIF's, 1 (as stored) to 8.
        sha256: hex digest of the file's bytes; "" when missing.
        thumbnail_SS: uint8, grey, upright, 32 x 32.
        format: as Pillow calls it, "JPEG"; "" where it cannot be decoded.
    """

    problem: str
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    sha256: str = ""
    thumbnail_SS: np.ndarray | None = None
    format: str = ""


def inspect_files(paths: Sequence[ImagePath], processes: int | None = None) -> Iterator[ImageFile]:
    """Inspects many files, in order, in several processes (as many as there are cores, if left out)."""
    processes = min(processes or os.cpu_count() or 1, MOST_PROCESSES)
    if processes == 1 or len(paths) < WORTH_PROCESSES:
        yield from map(inspect_file, paths)
        return
    # Spawned, not forked: a fork would copy the threads' locks of whatever else this process does.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_serve)
    try:
        yield from pool.map(inspect_file, paths, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _serve() -> None:
    """In a process of the pool: leaves Ctrl-C to the parent, and ends with it, also where that is killed."""
    signal(SIGINT, SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def inspect_file(path: ImagePath) -> ImageFile:
    """Reads and decodes one file; whatever is wrong with it is a result, never an exception."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ImageFile("missing")
    except (OSError, ValueError) as problem:  # ValueError: a name that no file can have
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
        turned, kind = orientation(image), image.format or ""
        width, height = image.size
        # A JPEG's draft is decoded from all of its bytes, to a fraction of its pixels: as strict, and much faster.
        image.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))
        image.load()
        grey = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    to_turn = 1 if kind == "TIFF" else turned  # Pillow turns TIFFs by itself, and says their size as if it had
    if to_turn != 1:
        grey.getexif()[0x0112] = to_turn
        grey = ImageOps.exif_transpose(grey)
    size = (height, width) if to_turn in SIDEWAYS else (width, height)
    return ImageFile("", size, turned, digest, np.asarray(grey), kind)


def _reason(data: bytes, problem: Exception) -> str:
    if not data:
        return "the file is empty"
    if isinstance(problem, Image.UnidentifiedImageError):
        return "this is no image"
    return str(problem) or type(problem).__name__
