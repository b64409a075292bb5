"""What was named on the command line → photographs, each with the key that its record carries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlcycle.errors import InputError, UsageError

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"),
        *("dib", "ico", "j2k", "jfif", "jp2", "jpe", "mpo", "pcx", "pgm", "pnm", "ppm", "qoi", "sgi", "tga"),
    )
)


@dataclass(frozen=True, slots=True)
class Source:
    """A photograph to look at.

    Attributes:
        path: where it lies.
        key: what its record is called: the name as given, or the path below the folder, with "/" on every system.
        copy: where its annotated copy goes, if one is wanted.
    """

    path: Path
    key: str
    copy: Path | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds: its photographs in the order of their keys, and how many other files were passed over."""

    photographs: list[Source]
    others: int


def from_names(names: list[str]) -> list[Source]:
    """Takes each name as a photograph, whatever its suffix; whether it can be read is found out later.

    Raises:
        UsageError: a name is a URL.
    """
    for name in names:
        if "://" in name.split("?")[0]:
            raise UsageError(f"{name} is a URL, and mlcycle fetches nothing", "download it first, then name the file")
    return [Source(Path(name), Path(name).as_posix()) for name in names]


def from_folder(folder: Path, without: Path | None = None) -> Folder:
    """Finds all photographs below a folder, by suffix; hidden files are passed over in silence, loops entered once.

    `without` is a folder that is not entered: that of the annotated copies, which may lie inside.

    Raises:
        InputError: it is no folder, or cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "name a folder that holds photographs")
    found = [Source(path, path.relative_to(folder).as_posix()) for path in _walk(folder, without)]
    photographs = [source for source in found if source.path.suffix.lower() in SUFFIXES]
    photographs.sort(key=lambda source: source.key)
    return Folder(photographs, len(found) - len(photographs))


def _walk(folder: Path, without: Path | None) -> Iterator[Path]:
    # A link may lead to a folder above or beside; each real folder is entered once, under the first name that is met.
    entered: set[tuple[int, int]] = set()
    if without is not None and without.is_dir():
        entered.add((without.stat().st_dev, without.stat().st_ino))
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            status = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as problem:
            if here == folder:
                raise InputError(f"the folder {folder} cannot be read: {problem.strerror}") from None
            continue
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        yield from (Path(entry.path) for entry in shown if not entry.is_dir())
        waiting.extend(Path(entry.path) for entry in reversed(shown) if entry.is_dir())
