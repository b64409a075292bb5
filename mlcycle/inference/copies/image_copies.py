"""Copies of images: where they go, and how they are written."""

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
from mlcycle.inference.record import JPEG_QUALITY, JPEG_SUFFIXES, VIDEO_SUFFIXES, Part, Source

# The most that a name has on nearly every file system, and what is no suffix any more, though a dot stands before it.
NAME_BYTES = 255
LONGEST_SUFFIX = 16


def placed(sources: Iterable[Source], folders: Mapping[str, Path], *, keep_tree: bool) -> Iterator[Source]:
    """Gives each image the places of its copies, one for each kind and its folder; no two share a name.

    With `keep_tree` a copy has the image's key below the folder, else its file's name. What is neither JPEG, PNG
    nor a video becomes PNG: a.tif → a.tif.png, and of its page 2 a.tif.2.png; crops have a folder, a.tif or a.tif.2.
    Names that would meet, also on file systems that do not tell a from A or one way to write é from another, are
    numbered: a-2.jpg. One that would be too long for a file is cut before its suffix. None can climb out of the folder.
    In the same order, the names are the same.
    """
    taken = _Taken()
    for source in sources:
        key = source.key if keep_tree else source.path.name
        names = {kind: _name(key, source.part, image=kind != "cropped") for kind in folders}
        yield replace(source, copies={kind: taken.take(folder, names[kind]) for kind, folder in folders.items()})


def must_be_free(sources: Callable[[], Iterable[Source]], *, overwrite: bool) -> None:
    """Refuses at once what is known to be taken; `sources` is called as often as they are looked through.

    Raises:
        InputError: a copy exists and `overwrite` is off, or it would replace one of the images.
    """
    existing: dict[tuple[int, int], Path] = {}
    count = 0
    for source in sources():
        for path in source.copies.values():
            count += 1
            if os.path.exists(path):  # noqa: PTH110 (a Path raises where the whole is too long for the system)
                existing[_identity(path)] = path
    if existing and not overwrite:
        raise InputError(
            f"of {count} copies {len(existing)} exist already, for example {next(iter(existing.values()))}",
            "choose another folder, or say --overwrite",
        )
    for source in sources() if existing else ():
        if source.path.exists() and (taken := existing.get(_identity(source.path))):
            raise InputError(f"the copy {taken} would replace the image itself", "choose another folder")


class _Taken:
    """The names that are taken in folders, as digests, since a million names would fill the memory."""

    def __init__(self) -> None:
        self._digests: set[int] = set()
        self._last: dict[int, int] = {}  # the last number that was given to names that are called alike

    def take(self, folder: Path, name: str) -> Path:
        """Returns where the name is in the folder, or the next one by its number that is free there."""
        suffix = Path(name).suffix
        suffix = suffix if len(suffix) <= LONGEST_SUFFIX else ""
        stem = name.removesuffix(suffix)
        path = folder / _fitting(stem, suffix)
        first = digest = _digest(_folded(str(path)))
        while digest in self._digests:
            # Of ten thousand that are called alike, not each may ask for all numbers of those before.
            number = self._last[first] = self._last.get(first, 1) + 1
            path = folder / _fitting(stem, f"-{number}{suffix}")
            digest = _digest(_folded(str(path)))
        self._digests.add(digest)
        return path


def _fitting(path: str, end: str) -> str:
    """Returns path and end as one; what stands behind the last slash is cut before the end, if it is too long."""
    above, slash, name = path.rpartition("/")
    name = name[:NAME_BYTES]
    while len(os.fsencode(name + end)) > NAME_BYTES:
        name = name[:-1]
    return f"{above}{slash}{name}{end}"


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
    return name if not image or path.suffix.lower() in {*JPEG_SUFFIXES, *VIDEO_SUFFIXES, ".png"} else name + ".png"


def save(image: Image.Image, path: Path, *, overwrite: bool = False, token: str = "") -> None:
    """Writes an image without metadata: whole or not at all, and over another file only if told so.

    A file of the very same bytes is no other file: it is what a run that was killed had finished. `token` is what the
    temporary names of a run have in common, so that going on with it also takes away what it left behind.

    Raises:
        FileExistsError: another file is there, and `overwrite` is off.
        OSError: it cannot be written.
    """
    data = _encode(image, path)
    with files.atomic(path, overwrite=overwrite, token=token, durable=False) as file:
        file.write(data)


def _encode(image: Image.Image, path: Path) -> bytes:
    image = image.copy()
    image.info.clear()  # Pillow would write a JPEG's comment and a PNG's colour profile again
    stream = io.BytesIO()
    if path.suffix.lower() == ".png":
        image.save(stream, "PNG", compress_level=3)
    else:
        image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
