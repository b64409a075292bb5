"""How files and folders are written: whole or not at all, and over another only where the caller says so.

Each grows under a hidden name beside its own and takes its name in one step. What a killed process leaves under such a
name is a *draft*. An error of the system's says which file it is about: the one that is written, not whichever happens
to be open around it.
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

# A disk on which nothing more can be written; whatever is tried next would fail alike.
FULL = (errno.ENOSPC, errno.EDQUOT)
# Of a name, what a draft's has of it: a person should see whose it is, and no file system have it too long.
_LETTERS = 40


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
    """Opens a file for writing, which takes the name `path` when the block has ended well.

    A file of the very same bytes is no other file: it stays, also without `overwrite`.

    Args:
        mode: permissions, less those that the process's umask takes away.
        token: see `draft`.
        partial: where the file grows, and stays if the block raises; None for a draft, which goes.
        durable: whether the file outlasts a power cut from the moment that it has its name.

    Raises:
        FileExistsError: another file has the name, and `overwrite` is off.
        OSError: it cannot be written; `filename` is the path.
    """
    growing = partial or draft(path, token)
    with _named(path):
        _make_folder(path.parent)
        growing.unlink(missing_ok=True)
        file = io.BufferedWriter(_Named(growing, path, mode))
    try:
        yield file
        with _named(path):
            file.close()
            if durable:
                sync(growing)
            _take_name(growing, path, overwrite)
            if durable:
                sync(path.parent)
    except BaseException:
        with suppress(OSError):  # what was raised first counts
            file.close()
        if not partial:
            growing.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False, token: str = "") -> Iterator[Path]:
    """Yields an empty folder to be filled, which takes the name `path` when the block has ended well.

    Where the block raises, nothing is left of it. A folder of the very same files is no other folder: it stays, also
    without `overwrite`. Its files are not made to outlast a power cut.

    Args:
        overwrite: whether what has the name then is replaced.
        token: see `draft`.

    Raises:
        FileExistsError: something has the name, and `overwrite` is off.
        OSError: it cannot be written; `filename` is the path.
    """
    growing = draft(path, token)
    try:
        with _named(path):
            shutil.rmtree(growing, ignore_errors=True)
            growing.mkdir(parents=True)
        with _named(path, within=growing):
            yield growing
        with _named(path):
            _take_folder_name(growing, path, draft(path, token and f"{token} old") if overwrite else None)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


def write(path: Path, data: bytes | str, *, overwrite: bool = True, mode: int = 0o666, hint: str = "") -> None:
    """Writes a whole file; text as UTF-8, in which a file name that is none appears with escapes.

    Args:
        hint: what to do where it cannot be written.

    Raises:
        InputError: it cannot be written, or another file has the name and `overwrite` is off.
    """
    content = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    with attributed(path, hint or "choose another place"), atomic(path, overwrite=overwrite, mode=mode) as file:
        file.write(content)


@contextmanager
def attributed(path: Path, hint: str) -> Iterator[None]:
    """Makes a sentence of an OSError: about the file that it names or, if it names none, about `path`.

    Raises:
        InputError: instead of the OSError.
    """
    try:
        yield
    except OSError as problem:
        why = problem.strerror or str(problem)
        if not is_about(problem, path):
            verb = "written" if problem.errno in FULL else "used"
            raise InputError(f"{os.fsdecode(problem.filename)} cannot be {verb}: {why}", hint) from problem
        if isinstance(problem, FileExistsError):
            raise InputError(f"{path} exists already", hint) from None
        raise InputError(f"{path} cannot be written: {why}", hint) from None


def is_about(problem: OSError, path: Path, *, unnamed: bool = True) -> bool:
    """Tells whether an error names a path, or one below; `unnamed` is the answer where it names none."""
    names = [os.fsdecode(each) for each in (problem.filename, problem.filename2) if isinstance(each, str | bytes)]
    return any(Path(each).is_relative_to(path) for each in names) if names else unnamed


def draft(path: Path, token: str = "") -> Path:
    """Returns a hidden name beside a file or folder that is to be, short enough for any file system.

    With the same token it is the same name, so that whoever resumes a run replaces what a killed process left there;
    without one nobody else has it.
    """
    name = os.fsencode(path.name + (token or os.urandom(8).hex()))
    mark = hashlib.blake2b(name, digest_size=8).hexdigest()
    return path.with_name(f".{path.name[:_LETTERS]}.{mark}.part")


def drafts(folder: Path) -> Iterator[Path]:
    """Yields what killed processes, or others that are at work, have half written in a folder."""
    return folder.glob(".*.part")


def sync(path: Path) -> None:
    """Makes the bytes of a file, or the names in a folder, outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems do not sync folders
            raise
    finally:
        os.close(handle)


class _Named(io.FileIO):
    """A new file whose errors in writing name the path that it is to have; the system's name none."""

    def __init__(self, growing: Path, path: Path, mode: int) -> None:
        super().__init__(growing, "xb", opener=lambda name, flags: os.open(name, flags, mode))
        self._path = path

    def write(self, data: Any, /) -> int:
        with _named(self._path):
            return super().write(data)


@contextmanager
def _named(path: Path, within: Path | None = None) -> Iterator[None]:
    """Lets errors name a path: all of them or, with `within`, those that are about it or name nothing."""
    try:
        yield
    except OSError as problem:
        if within is None or is_about(problem, within):
            problem.filename, problem.filename2 = str(path), None
        raise


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # which is not the error that a file's own name is taken
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def _take_name(growing: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        growing.replace(path)
        return
    try:
        os.link(growing, path)  # fails where the name is taken, so that of two writers one loses and says so
    except FileExistsError:
        _must_be_same(growing, path)
    except OSError:  # some file systems know no hard links, and there a check and a rename must do
        if os.path.lexists(path):
            _must_be_same(growing, path)
        else:
            growing.rename(path)
    growing.unlink(missing_ok=True)


def _must_be_same(growing: Path, path: Path) -> None:
    if not (path.is_file() and filecmp.cmp(growing, path, shallow=False)):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _take_folder_name(growing: Path, path: Path, aside: Path | None) -> None:
    """Gives a folder its name; what has it goes where `aside` says until then or, without, must be the very same."""
    if aside:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):
            path.rename(aside)
        growing.rename(path)  # should another have written it meanwhile, this fails, and nothing is lost
        shutil.rmtree(aside, ignore_errors=True)
    elif not os.path.lexists(path):
        growing.rename(path)
    elif not _is_same_folder(growing, path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _is_same_folder(one: Path, other: Path) -> bool:
    names = {each.relative_to(one) for each in one.rglob("*")}
    return (
        other.is_dir()
        and names == {each.relative_to(other) for each in other.rglob("*")}
        and all((one / each).is_dir() or filecmp.cmp(one / each, other / each, shallow=False) for each in names)
    )
