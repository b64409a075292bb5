"""What was named on the command line → photographs, each with the key that its record carries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlcycle.errors import InputError, UsageError

STANDARD_INPUT = "-"
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
        data: its bytes, if they came by themselves.
        key: what its record is called: the name as given, or the path below the folder, with "/" on every system.
        copies: where the copies of it go that are wanted, by their kind: annotated, redacted.
    """

    path: Path
    key: str
    copies: Mapping[str, Path] = field(default_factory=dict)
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds: its photographs in the order of their keys, and how many other files were passed over."""

    photographs: list[Source]
    others: int


def from_names(names: Iterable[str], standard_input: Callable[[], bytes]) -> list[Source]:
    """Takes each name as a photograph, whatever its suffix; whether it can be read is found out later.

    `-` is a photograph whose bytes come from standard input, `@FILE` stands for the names in a file, one a line, and
    a name that is no file's but holds *, ? or [ for all files that it fits, ** for folders within folders.

    Raises:
        UsageError: a name is a URL, or standard input is asked for twice.
        InputError: a list cannot be read, or names nothing.
    """
    sources: list[Source] = []
    for name in names:
        if name == STANDARD_INPUT:
            if any(each.data is not None for each in sources):
                raise UsageError("standard input holds one photograph, and is named twice", "name - once")
            sources.append(Source(Path("stdin"), name, data=standard_input()))
        elif name.startswith("@"):
            sources += from_listed(_read_list(Path(name[1:])).split(b"\n"))
        else:
            sources += _named(name)
    return sources


def from_listed(lines: Iterable[bytes]) -> list[Source]:
    """Takes each line as the name of a photograph, as it stands, in any encoding; empty ones are passed over.

    Raises:
        UsageError: a name is a URL.
    """
    names = [os.fsdecode(line.rstrip(b"\r")) for line in lines]
    return [_photograph(name) for name in names if name]


def _named(name: str) -> list[Source]:
    if not any(each in name for each in "*?[") or Path(name).exists() or "://" in name:
        return [_photograph(name)]
    import glob

    # What fits nothing is passed on as it is, and becomes the record of a photograph that is not there.
    found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (Path.glob takes no pattern that begins at /)
    fitting = [each for each in found if not Path(each).is_dir()]
    return [_photograph(each) for each in fitting or [name]]


def _photograph(name: str) -> Source:
    if "://" in name.split("?", maxsplit=1)[0]:
        raise UsageError(f"{name} is a URL, and mlcycle fetches nothing", "download it first, then name the file")
    return Source(Path(name), Path(name).as_posix())


def _read_list(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise InputError(f"the list {path} cannot be read: {problem.strerror}", "name photographs in a file") from None
    if not data.strip():
        raise InputError(f"the list {path} names no photograph", "give it one name a line")
    return data


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
