"""What was named on the command line → images, each with the key that its record carries."""

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
    """The images below a folder, in the order of their keys' bytes, as often as they are asked for.

    Their names are kept in a temporary file, so that memory does not grow with their number, or in memory, if no disk
    is to see them.

    Attributes:
        others: how many other files were passed over.
        videos: how many of these are videos.
    """

    def __init__(self, folder: Path, names: IO[bytes], count: int, others: int, videos: int) -> None:
        self._folder, self._names, self._count = folder, names, count
        self.others, self.videos = others, videos

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Source]:
        place, rest = 0, b""
        while block := self._read(place, 1 << 16):
            place += len(block)
            *names, rest = (rest + block).split(b"\0")
            for name in names:
                key = os.fsdecode(name)
                yield Source(self._folder / key, key)

    def _read(self, place: int, size: int) -> bytes:
        if isinstance(self._names, io.BytesIO):
            return self._names.getbuffer()[place : place + size].tobytes()
        return os.pread(self._names.fileno(), size, place)


def from_names(names: Iterable[str], standard_input: Callable[[], bytes]) -> list[Source]:
    """Takes each name as an image, whatever its suffix; whether it can be read is found out later.

    `-` is an image whose bytes come from standard input, `@FILE` stands for the names in a file, one a line, and
    a name that is no file's but holds *, ? or [ for all files that it fits, ** for folders within folders.

    Raises:
        UsageError: a name is a URL, or standard input is asked for twice.
        InputError: a list cannot be read, or names nothing.
    """
    sources: list[Source] = []
    for name in names:
        if name == STANDARD_INPUT:
            if any(each.data is not None for each in sources):
                raise UsageError("standard input holds one image, and is named twice", "name - once")
            sources.append(Source(Path("stdin"), name, data=standard_input()))
        elif name.startswith("@"):
            sources += from_listed(_read_list(Path(name[1:])).split(b"\n"))
        else:
            sources += _named(name)
    return sources


def from_listed(lines: Iterable[bytes]) -> list[Source]:
    """Takes each line as the name of an image, as it stands, in any encoding; empty ones are passed over.

    Raises:
        UsageError: a name is a URL.
    """
    names = [os.fsdecode(line.rstrip(b"\r")) for line in lines]
    return [from_name(name) for name in names if name]


def _named(name: str) -> list[Source]:
    if not any(each in name for each in "*?[") or Path(name).exists() or "://" in name:
        return [from_name(name)]
    import glob

    # What fits nothing is passed on as it is, and becomes the record of an image that is not there.
    found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (Path.glob takes no pattern that begins at /)
    fitting = [each for each in found if not Path(each).is_dir()]
    return [from_name(each) for each in fitting or [name]]


def from_name(name: str) -> Source:
    """Takes one name as an image, whatever its suffix.

    Raises:
        UsageError: it is a URL.
    """
    if "://" in name.split("?", maxsplit=1)[0]:
        raise UsageError(f"{name} is a URL, and mlcycle fetches nothing", "download it first, then name the file")
    return Source(Path(name), Path(name).as_posix())


def _read_list(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise InputError(f"the list {path} cannot be read: {problem.strerror}", "name images in a file") from None
    if not data.strip():
        raise InputError(f"the list {path} names no image", "give it one name a line")
    return data


def from_folder(folder: Path, without: Sequence[Path] = (), *, in_memory: bool = False, videos: bool = False) -> Folder:
    """Finds all images below a folder, by suffix; hidden files are passed over in silence, loops entered once.

    A folder that cannot be read stands for what is in it, with "/" behind its key, so that it is not lost in silence.
    `without` are folders that are not entered: those of the copies, which may lie inside. With `in_memory` the names
    are not put into a temporary file. Videos are passed over as other files are, unless `videos` says that they count.

    Raises:
        InputError: it is no folder, or cannot be read.
    """
    import tempfile

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "name a folder that holds images")
    # It lives as long as the Folder.
    names: IO[bytes] = io.BytesIO() if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    count = others = unwatched = 0
    for name in _walk(folder, without):
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path for each of a million names is slow)
        if name.endswith(b"/") or suffix in _SUFFIXES or (videos and suffix in _VIDEO_SUFFIXES):
            names.write(name + b"\0")
            count += 1
        else:
            others += 1
            unwatched += suffix in _VIDEO_SUFFIXES
    names.flush()
    return Folder(folder, names, count, others, unwatched)


def named_files(named: Sequence[Path]) -> list[Path]:
    """Returns the image files named, and those below the folders named, sorted.

    Raises:
        InputError: one of them is not there.
    """
    files: list[Path] = []
    for each in named:
        if not os.path.exists(each):  # noqa: PTH110  (where it cannot be asked for, Path's way raises)
            raise InputError(f"there is no image or folder {each}", "check --images")
        files += [source.path for source in from_folder(each)] if each.is_dir() else [each]
    return files


def in_shard(source: Source, shard: tuple[int, int]) -> bool:
    """Tells whether an image belongs to the i-th of n parts (i from 1 on); its key alone decides, anywhere."""
    number, count = shard
    digest = hashlib.blake2b(source.identity[0], digest_size=8).digest()
    return int.from_bytes(digest) % count == number - 1


def _walk(folder: Path, without: Sequence[Path]) -> Iterator[bytes]:
    """Yields the paths of files below a folder, and of folders that cannot be read, in the order of their bytes.

    As bytes they take a fifth of the memory of what `os.scandir` makes of them; of a folder all names are held at once.
    """
    # A link may lead to a folder above or beside; each real folder is entered once, under the first name that is met.
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
    except OSError:  # it went away, may not be looked at, or has too long a path
        return None
    return status.st_dev, status.st_ino


def _below_or_none(folder: bytes) -> list[bytes] | None:
    try:
        return _below(folder)
    except OSError:
        return None


def _below(folder: bytes) -> list[bytes]:
    """Returns the names in a folder that are shown, those of folders with a "/" behind, sorted by their bytes."""
    with os.scandir(folder) as entries:
        return sorted(entry.name + b"/" * _is_folder(entry) for entry in entries if not entry.name.startswith(b"."))


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
