"""Names, patterns, lists and folders → image sources, each with the key of its record."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from mlcycle.errors import InputError, UsageError
from mlcycle.inference.record import VIDEO_SUFFIXES, Source

STANDARD_INPUT = "-"
SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "heic", "heif", "hif", "jpeg", "jpg", "png", "tif", "tiff", "webp"),
        *("dib", "ico", "j2k", "jfif", "jp2", "jpe", "mpo", "pcx", "pgm", "pnm", "ppm", "qoi", "sgi", "tga"),
    )
)
_SUFFIXES = frozenset(os.fsencode(suffix) for suffix in SUFFIXES)
_VIDEO_SUFFIXES = frozenset(os.fsencode(suffix) for suffix in VIDEO_SUFFIXES)


class Folder:
    """The images below a folder, in the order of their keys' bytes; it can be iterated repeatedly.

    Their names are kept in a temporary file, so that memory does not grow with their number, or in memory, if they must
    not be written to disk.

    Attributes:
        others: number of other files, which are skipped.
        videos: number of videos among these.
    """

    def __init__(self, folder: Path, names: IO[bytes], count: int, others: int, videos: int) -> None:
        self._folder, self._names, self._count = folder, names, count
        self.others, self.videos = others, videos

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Source]:
        offset, rest = 0, b""
        while block := self._read(offset, 1 << 16):
            offset += len(block)
            *names, rest = (rest + block).split(b"\0")
            for name in names:
                key = os.fsdecode(name)
                yield Source(self._folder / key, key)

    def sorted_by(self, order: Callable[[str], str]) -> Iterator[Source]:
        """Yields the images in the order of a function of their keys, all of which are then in memory."""
        return (Source(self._folder / key, key) for key in sorted((each.key for each in self), key=order))

    def _read(self, offset: int, size: int) -> bytes:
        if isinstance(self._names, io.BytesIO):
            return self._names.getbuffer()[offset : offset + size].tobytes()
        return os.pread(self._names.fileno(), size, offset)


def from_names(names: Iterable[str], standard_input: Callable[[], bytes]) -> list[Source]:
    """Returns a source for each name, whatever its suffix; the files are read later.

    `-` is an image on standard input; `@FILE` is a file with one name per line; a name with *, ? or [ that is not a
    file is a pattern, in which ** matches folders at any depth.

    Raises:
        UsageError: a name is a URL, or - is passed twice.
        InputError: a list cannot be read or is empty.
    """
    sources: list[Source] = []
    for name in names:
        if name == STANDARD_INPUT:
            if any(each.data is not None for each in sources):
                raise UsageError("standard input has one image, but - is passed twice", "pass - once")
            sources.append(Source(Path("stdin"), name, data=standard_input()))
        elif name.startswith("@"):
            sources += from_listed(_read_list(Path(name[1:])).split(b"\n"))
        else:
            sources += _named(name)
    return sources


def from_listed(lines: Iterable[bytes]) -> list[Source]:
    """Returns a source for each line, a name in any encoding; empty lines are skipped.

    Raises:
        UsageError: a name is a URL.
    """
    names = [os.fsdecode(line.rstrip(b"\r")) for line in lines]
    return [from_name(name) for name in names if name]


def _named(name: str) -> list[Source]:
    if not any(each in name for each in "*?[") or Path(name).exists() or "://" in name:
        return [from_name(name)]
    import glob

    # A pattern without matches is kept as a name, whose record then has the error not-found.
    found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    matches = [each for each in found if not Path(each).is_dir()]
    return [from_name(each) for each in matches or [name]]


def from_name(name: str) -> Source:
    """Returns the source of one name, whatever its suffix.

    Raises:
        UsageError: it is a URL.
    """
    if "://" in name.split("?", maxsplit=1)[0]:
        raise UsageError(f"{name} is a URL, and mlcycle fetches nothing", "download it first, then pass the file")
    return Source(Path(name), Path(name).as_posix())


def _read_list(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise InputError(f"the list {path} cannot be read: {problem.strerror}", "pass a file of image names") from None
    if not data.strip():
        raise InputError(f"the list {path} is empty", "write one name per line")
    return data


def from_folder(folder: Path, without: Sequence[Path] = (), *, in_memory: bool = False, videos: bool = False) -> Folder:
    """Finds all images below a folder by their suffixes; hidden files are skipped, and loops of links entered once.

    A folder that cannot be read becomes a source with "/" after its key, so that the results show it.

    Args:
        without: folders to skip, such as those of copies.
        in_memory: whether the names are kept in memory instead of in a temporary file.
        videos: whether videos count as images.

    Raises:
        InputError: no such folder, or it cannot be read.
    """
    import tempfile

    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}", "pass a folder of images")
    # Open as long as the Folder exists.
    names: IO[bytes] = io.BytesIO() if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    count = others = other_videos = 0
    for name in _walk(folder, without):
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path for each of a million names is slow)
        if name.endswith(b"/") or suffix in _SUFFIXES or (videos and suffix in _VIDEO_SUFFIXES):
            names.write(name + b"\0")
            count += 1
        else:
            others += 1
            other_videos += suffix in _VIDEO_SUFFIXES
    names.flush()
    return Folder(folder, names, count, others, other_videos)


def named_files(named: Sequence[Path]) -> list[Path]:
    """Returns the named image files and those below the named folders, in order.

    Raises:
        InputError: one of them does not exist.
    """
    files: list[Path] = []
    for each in named:
        if not os.path.exists(each):  # noqa: PTH110  (Path.exists raises for paths that are too long)
            raise InputError(f"no such image or folder: {each}", "check --images")
        files += [source.path for source in from_folder(each)] if each.is_dir() else [each]
    return files


def in_shard(source: Source, shard: tuple[int, int]) -> bool:
    """Returns whether an image belongs to shard i of n (i counted from 1); this depends on its key alone."""
    number, count = shard
    digest = hashlib.blake2b(source.identity[0], digest_size=8).digest()
    return int.from_bytes(digest) % count == number - 1


def _walk(folder: Path, without: Sequence[Path]) -> Iterator[bytes]:
    """Yields the paths of files below a folder, and of folders that cannot be read, in the order of their bytes.

    All names of a folder are held at once; as bytes they take a fifth of the memory of `os.scandir` entries.
    """
    # Links may lead to parent or sibling folders; each real folder is entered once, under the first name found.
    entered = {_identity(os.fsencode(each)) for each in without if each.is_dir()}
    root = os.fsencode(folder)
    entered.add(_identity(root))
    try:
        open_folders = [(b"", iter(_below(root)))]
    except OSError as problem:
        raise InputError(f"the folder {folder} cannot be read: {problem.strerror}") from None
    while open_folders:
        here, names = open_folders[-1]
        name = next(names, None)
        if name is None:
            open_folders.pop()
        elif not name.endswith(b"/"):
            yield here + name
        elif (identity := _identity(_joined(root, here + name))) not in entered:
            below = _below_or_none(_joined(root, here + name))
            if identity is None or below is None:
                yield here + name
            else:
                entered.add(identity)
                open_folders.append((here + name, iter(below)))


def _joined(folder: bytes, name: bytes) -> bytes:
    return os.path.join(folder, name)  # noqa: PTH118 (a Path holds no bytes)


def _identity(folder: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError:  # it was removed, is not accessible, or has too long a path
        return None
    return status.st_dev, status.st_ino


def _below_or_none(folder: bytes) -> list[bytes] | None:
    try:
        return _below(folder)
    except OSError:
        return None


def _below(folder: bytes) -> list[bytes]:
    """Returns the names in a folder except hidden ones, sorted by their bytes; folders have "/" at the end."""
    with os.scandir(folder) as entries:
        return sorted(entry.name + b"/" * _is_folder(entry) for entry in entries if not entry.name.startswith(b"."))


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
