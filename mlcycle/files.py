"""Atomic writes of files and folders: complete or not at all, and over an existing one only if the caller allows it.

Each is written under a hidden temporary name next to its target and renamed in one step. What a killed process leaves
under such a name is a *draft*. An OSError names the file being written, not another one that happens to be open.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mlcycle.errors import InputError

# The disk or the quota is full: every further write fails too.
FULL = (errno.ENOSPC, errno.EDQUOT)
# How many characters of the target's name a draft's name repeats: enough to recognise it, and short enough for any
# file system.
_LETTERS = 40
# The longest file name on nearly every file system. A longer text after a dot is not treated as a suffix.
MAX_NAME_BYTES = 255
MAX_SUFFIX_LENGTH = 16


@contextmanager
def atomic(
    path: Path,
    *,
    overwrite: bool = False,
    mode: int = 0o666,
    token: str = "",
    partial: Path | None = None,
    durable: bool = True,
) -> Iterator[BinaryIO]:
    """Opens a file for writing and renames it to `path` when the block ends without an error.

    An existing file with identical bytes is kept as it is, also without `overwrite`. Of a symbolic link, `overwrite`
    replaces the file that it names, and keeps the link. A pipe or a device is never replaced: as root, a rename over
    /dev/null would take it from all programs.

    Args:
        mode: permissions, reduced by the process's umask.
        token: see `draft`.
        partial: where the data is written, and kept if the block raises; None for a draft, which is removed.
        durable: sync to disk, so that the file survives a power cut once it has its name.

    Raises:
        FileExistsError: a different file has the name, and `overwrite` is off.
        OSError: the file cannot be written; `filename` is the path.
    """
    target = Path(os.path.realpath(path)) if overwrite and path.is_symlink() else path
    temporary = partial or draft(target, token)
    with _named(path):
        _must_not_be_special(target)
        _make_folder(target.parent)
        temporary.unlink(missing_ok=True)
        file = io.BufferedWriter(_Named(temporary, path, mode))
    try:
        yield file
        with _named(path):
            file.close()
            if durable:
                sync(temporary)
            _take_name(temporary, target, overwrite)
            if durable:
                sync(target.parent)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            file.close()
        if not partial:
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False, token: str = "") -> Iterator[Path]:
    """Yields an empty folder to fill and renames it to `path` when the block ends without an error.

    If the block raises, the folder is removed. An existing folder with identical files is kept as it is, also without
    `overwrite`. The files are not synced to disk.

    Args:
        overwrite: whether to replace what has the name.
        token: see `draft`.

    Raises:
        FileExistsError: something has the name, and `overwrite` is off.
        OSError: the folder cannot be written; `filename` is the path.
    """
    temporary = draft(path, token)
    try:
        with _named(path):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        with _named(path, within=temporary):
            yield temporary
        with _named(path):
            _take_folder_name(temporary, path, draft(path, token and f"{token} old") if overwrite else None)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write(path: Path, data: bytes | str, *, overwrite: bool = False, mode: int = 0o666, hint: str = "") -> None:
    """Writes a whole file; text as UTF-8, with escapes for file names that are not valid UTF-8.

    Args:
        hint: what the user can do if it cannot be written.

    Raises:
        InputError: it cannot be written, or a different file has the name and `overwrite` is off.
    """
    content = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    with attributed(path, hint or "choose another place"), atomic(path, overwrite=overwrite, mode=mode) as file:
        file.write(content)


@contextmanager
def attributed(path: Path, hint: str) -> Iterator[None]:
    """Turns an OSError into an InputError about the file that it names, or about `path` if it names none.

    Args:
        hint: what the user can do; on a full disk, freeing some is suggested first.

    Raises:
        InputError: instead of the OSError.
    """
    try:
        yield
    except OSError as problem:
        why = problem.strerror or str(problem)
        hint = f"free disk space, or {hint}" if problem.errno in FULL else hint
        if not is_about(problem, path):
            verb = "written" if problem.errno in FULL else "used"
            raise InputError(f"{os.fsdecode(problem.filename)} cannot be {verb}: {why}", hint) from problem
        if isinstance(problem, FileExistsError):
            raise InputError(f"{path} already exists", hint) from None
        raise InputError(f"{path} cannot be written: {why}", hint) from None


def is_about(problem: OSError, path: Path, *, unnamed: bool = True) -> bool:
    """Returns whether an error names a path or one below it; `unnamed` is the result if the error names no path."""
    names = [os.fsdecode(each) for each in (problem.filename, problem.filename2) if isinstance(each, str | bytes)]
    return any(Path(each).is_relative_to(path) for each in names) if names else unnamed


def draft(path: Path, token: str = "") -> Path:
    """Returns a hidden temporary name next to a file or folder, short enough for any file system.

    The same token gives the same name, so that a resumed run replaces what a killed process left. Without a token the
    name is unique.
    """
    name = os.fsencode(path.name + (token or os.urandom(8).hex()))
    mark = hashlib.blake2b(name, digest_size=8).hexdigest()
    return path.with_name(f".{path.name[:_LETTERS]}.{mark}.part")


def shortened(path: str, end: str) -> str:
    """Returns path + end, with the last component of the path truncated to MAX_NAME_BYTES in total."""
    above, slash, name = path.rpartition("/")
    name = name[:MAX_NAME_BYTES]
    while len(os.fsencode(name + end)) > MAX_NAME_BYTES:
        name = name[:-1]
    return f"{above}{slash}{name}{end}"


def drafts(folder: Path) -> Iterator[Path]:
    """Yields the incomplete files that killed or still running processes have in a folder."""
    return folder.glob(".*.part")


def sync(path: Path) -> None:
    """Syncs a file's bytes, or a folder's names, to disk, so that they survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems do not sync folders
            raise
    finally:
        os.close(handle)


class _Named(io.FileIO):
    """A new file whose write errors name the final path; those of the operating system name none."""

    def __init__(self, temporary: Path, path: Path, mode: int) -> None:
        super().__init__(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))
        self._path = path

    def write(self, data: Any, /) -> int:
        with _named(self._path):
            return super().write(data)


@contextmanager
def _named(path: Path, within: Path | None = None) -> Iterator[None]:
    """Sets the path that errors name: of all errors or, with `within`, of those about it or without a path."""
    try:
        yield
    except OSError as problem:
        if within is None or is_about(problem, within):
            problem.filename, problem.filename2 = str(path), None
        raise


def _must_not_be_special(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a parent is a file; must not be mistaken for "the target exists"
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def _take_name(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # fails if the name is taken, so that of two writers one gets an error
    except FileExistsError:
        _must_be_same(temporary, path)
    except OSError:  # file systems without hard links: a check and a rename have to suffice
        if os.path.lexists(path):
            _must_be_same(temporary, path)
        else:
            temporary.rename(path)
    temporary.unlink(missing_ok=True)


def _must_be_same(temporary: Path, path: Path) -> None:
    if not (path.is_file() and filecmp.cmp(temporary, path, shallow=False)):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _take_folder_name(temporary: Path, path: Path, aside: Path | None) -> None:
    """Renames a folder to its target. An existing target is moved to `aside` first; without, it must be identical."""
    if aside:
        _remove(aside)
        with suppress(FileNotFoundError):
            path.rename(aside)
        temporary.rename(path)  # fails, and loses nothing, if another process has created it meanwhile
        _remove(aside)
    elif not os.path.lexists(path):
        temporary.rename(path)
    elif not _is_same_folder(temporary, path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _remove(path: Path) -> None:
    """Removes a folder, a file or a link, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_same_folder(one: Path, other: Path) -> bool:
    names = {each.relative_to(one) for each in one.rglob("*")}
    return (
        other.is_dir()
        and names == {each.relative_to(other) for each in other.rglob("*")}
        and all((one / each).is_dir() or filecmp.cmp(one / each, other / each, shallow=False) for each in names)
    )
