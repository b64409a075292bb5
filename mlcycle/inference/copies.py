"""Copies of photographs: where they go, and how they are written."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image

from mlcycle.errors import InputError
from mlcycle.inference.record import JPEG_QUALITY, JPEG_SUFFIXES, Part, Source


def placed(sources: Iterable[Source], folders: Mapping[str, Path], *, keep_tree: bool) -> Iterator[Source]:
    """Gives each photograph the places of its copies, one for each kind and its folder; no two share a name.

    With `keep_tree` a copy has the photograph's key below the folder, else its file's name. What is neither JPEG nor
    PNG becomes PNG: a.tif → a.tif.png, and of its page 2 a.tif.2.png; crops have a folder, a.tif or a.tif.2. Names that
    would meet, also on file systems that do not tell a from A, are numbered: a-2.jpg. None can climb out of the folder.
    In the same order, the names are the same.
    """
    taken: set[int] = set()  # digests, since a million names would fill the memory
    for source in sources:
        key = source.key if keep_tree else source.path.name
        names = {kind: _name(key, source.part, picture=kind != "cropped") for kind in folders}
        yield replace(source, copies={kind: _free(folder, names[kind], taken) for kind, folder in folders.items()})


def must_be_free(sources: Callable[[], Iterable[Source]], *, overwrite: bool) -> None:
    """Refuses at once what is known to be taken; `sources` is called as often as they are looked through.

    Raises:
        InputError: a copy exists and `overwrite` is off, or it would replace one of the photographs.
    """
    existing: dict[tuple[int, int], Path] = {}
    count = 0
    for source in sources():
        for path in source.copies.values():
            count += 1
            if path.exists():
                existing[_identity(path)] = path
    if existing and not overwrite:
        raise InputError(
            f"of {count} copies {len(existing)} exist already, for example {next(iter(existing.values()))}",
            "choose another folder, or say --overwrite",
        )
    for source in sources() if existing else ():
        if source.path.exists() and (taken := existing.get(_identity(source.path))):
            raise InputError(f"the copy {taken} would replace the photograph itself", "choose another folder")


def _free(folder: Path, name: str, taken: set[int]) -> Path:
    suffix = Path(name).suffix
    stem = name.removesuffix(suffix)
    number = 1
    while (digest := _digest(f"{folder}/{name}".lower())) in taken:
        number += 1
        name = f"{stem}-{number}{suffix}"
    taken.add(digest)
    return folder / name


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest())


def _name(key: str, part: Part | None, *, picture: bool) -> str:
    path = Path(f"{key}.{part.number}" if part else key)
    name = "/".join(part for part in path.parts if part not in ("..", path.anchor)) or "photograph"
    return name if not picture or path.suffix.lower() in {*JPEG_SUFFIXES, ".png"} else name + ".png"


def save(image: Image.Image, path: Path, *, overwrite: bool = False, token: str = "") -> None:
    """Writes a picture without metadata: whole or not at all, and over another file only if told so.

    A file of the very same bytes is no other file: it is what a run that was killed had finished. `token` is what the
    temporary names of a run have in common, so that going on with it also takes away what it left behind.

    Raises:
        FileExistsError: another file is there, and `overwrite` is off.
        OSError: it cannot be written.
    """
    data = _encode(image, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not overwrite:
        if path.is_file() and path.read_bytes() == data:
            return
        raise FileExistsError(f"{path} exists")
    token = token or os.urandom(8).hex()
    temporary = path.with_name(f".mlcycle-{_digest(path.name + token):016x}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(image: Image.Image, path: Path) -> bytes:
    image = image.copy()
    image.info.clear()  # Pillow would write a JPEG's comment and a PNG's colour profile again
    stream = io.BytesIO()
    if path.suffix.lower() == ".png":
        image.save(stream, "PNG", compress_level=3)
    else:
        image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
