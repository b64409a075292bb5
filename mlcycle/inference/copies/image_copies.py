"""Copies of images: their paths, and writing them."""

from __future__ import annotations

import hashlib
import io
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image

from mlcycle import files
from mlcycle.errors import InputError
from mlcycle.inference.record import JPEG_QUALITY, JPEG_SUFFIXES, VIDEO_COPY_SUFFIXES, VIDEO_SUFFIXES, Part, Source


def with_copy_paths(sources: Iterable[Source], folders: Mapping[str, Path], *, keep_tree: bool) -> Iterator[Source]:
    """Yields each source with the paths of its copies, one for each kind and its folder; all paths differ.

    With `keep_tree` a copy has the image's key below the folder, else its file's name. Images other than JPEG and PNG
    become PNG: a.tif → a.tif.png, its page 2 a.tif.2.png. Videos other than MP4 and WebM become MP4: a.mov →
    a.mov.mp4. Crops have a folder, a.tif or a.tif.2. Names that collide, also on file systems that ignore case or
    Unicode normalisation, are numbered: a-2.jpg. A name that is too long is truncated before its suffix. No path leaves
    the folder. The same order of sources gives the same names.
    """
    taken = _Taken()
    for source in sources:
        key = source.key if keep_tree else source.path.name
        names = {kind: _name(key, source.part, image=kind != "cropped") for kind in folders}
        yield replace(source, copies={kind: taken.take(folder, names[kind]) for kind, folder in folders.items()})


def must_be_free(sources: Callable[[], Iterable[Source]], *, overwrite: bool) -> None:
    """Refuses copies whose paths exist, before any work; `sources` yields the images, each time it is called.

    Raises:
        InputError: a copy exists and `overwrite` is off, or it would replace one of the images.
    """
    existing: dict[tuple[int, int], Path] = {}
    count = 0
    for source in sources():
        for path in source.copies.values():
            count += 1
            if os.path.exists(path):  # noqa: PTH110 (Path.exists raises for paths that are too long)
                existing[_identity(path)] = path
    if existing and not overwrite:
        raise InputError(
            f"{len(existing)} of {count} copies exist already, for example {next(iter(existing.values()))}",
            "choose another folder, or pass --overwrite",
        )
    for source in sources() if existing else ():
        if source.path.exists() and (taken := existing.get(_identity(source.path))):
            raise InputError(f"the copy {taken} would replace the image itself", "choose another folder")


class _Taken:
    """The paths in use, as digests, because a million names would fill the memory."""

    def __init__(self) -> None:
        self._digests: set[int] = set()
        self._last: dict[int, int] = {}  # digest of a path → the last number given to it

    def take(self, folder: Path, name: str) -> Path:
        """Returns the path of the name in the folder, or of the name with the next free number."""
        suffix = Path(name).suffix
        suffix = suffix if len(suffix) <= files.MAX_SUFFIX_LENGTH else ""
        base = name.removesuffix(suffix)
        path = folder / files.shortened(base, suffix)
        first = digest = _digest(_folded(str(path)))
        while digest in self._digests:
            # Continues at the last number: ten thousand equal names must not each try all earlier numbers.
            number = self._last[first] = self._last.get(first, 1) + 1
            path = folder / files.shortened(base, f"-{number}{suffix}")
            digest = _digest(_folded(str(path)))
        self._digests.add(digest)
        return path


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest())


def _name(key: str, part: Part | None, *, image: bool) -> str:
    path = Path(f"{key}.{part.number}" if part else key)
    name = "/".join(part for part in path.parts if part not in ("..", path.anchor)) or "image"
    suffix = path.suffix.lower()
    if not image or suffix in {*JPEG_SUFFIXES, *VIDEO_COPY_SUFFIXES, ".png"}:
        return name
    return name + (".mp4" if suffix in VIDEO_SUFFIXES else ".png")


def save(image: Image.Image, path: Path, *, overwrite: bool = False, token: str = "") -> None:
    """Writes an image atomically and without metadata.

    An existing file with the same bytes is kept: a killed run had finished it.

    Args:
        overwrite: whether another file may be replaced.
        token: common part of a run's temporary names, so that resuming it removes what it left.

    Raises:
        FileExistsError: another file exists, and `overwrite` is off.
        OSError: it cannot be written.
    """
    data = encode(image, path.suffix)
    with files.atomic(path, overwrite=overwrite, token=token, durable=False) as file:
        file.write(data)


def encode(image: Image.Image, suffix: str) -> bytes:
    """Returns an image's bytes without metadata: a PNG for the suffix .png, else a JPEG."""
    image = image.copy()
    image.info.clear()  # else Pillow would write a JPEG's comment and a PNG's colour profile
    stream = io.BytesIO()
    if suffix.lower() == ".png":
        image.save(stream, "PNG", compress_level=3)
    else:
        image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
