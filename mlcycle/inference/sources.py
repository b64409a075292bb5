"""What was named on the command line → photographs, each with the key that its record carries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
        copies: where the copies of it go that are wanted, by their kind: annotated, redacted.
    """

    path: Path
    key: str
    copies: Mapping[str, Path] = field(default_factory=dict)


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


def from_folder(folder: Path, without: Sequence[Path] = ()) -> Folder:
    """Finds all photographs below a folder, by suffix; hidden files are passed over in silence, loops entered once.

    `without` are folders that are not entered: those of the copies, which may lie inside.

    Raises:
        InputError: it is no folder, or cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "name a folder that holds photographs")
    found = [Source(path, path.relative_to(folder).as_posix()) for path in _walk(folder, without)]
    photographs = [source for source in found if source.path.suffix.lower() in SUFFIXES]
    photographs.sort(key=lambda source: source.key)
    return Folder(photographs, len(found) - len(photographs))


def _walk(folder: Path, without: Sequence[Path]) -> Iterator[Path]:
    # A link may lead to a folder above or beside; each real folder is entered once, under the first name that is met.
    entered = {(each.stat().st_dev, each.stat().st_ino) for each in without if each.is_dir()}
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
