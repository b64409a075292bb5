"""A folder that appears whole or not at all, with the digests of its files in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlcycle.errors import InputError

SUMS = "SHA256SUMS"


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """Yields an empty folder beside the target to be filled; at the end it becomes the target, its files read-only.

    SHA256SUMS names all files, in the form that `sha256sum -c` reads inside the folder. Where anything is raised,
    nothing is left of it, nor of folders that were made for it.

    Raises:
        InputError: the target exists, or cannot be written.
    """
    made = [each for each in (target.parent, *target.parent.parents) if not each.exists()]
    try:
        _must_be_free(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    except OSError as problem:
        _remove_empty(made)
        raise InputError(f"{target} cannot be written: {problem.strerror}", "choose another place with -o") from None
    try:
        yield temporary
        _seal(temporary)
        _must_be_free(target)
        temporary.rename(target)
    except OSError as problem:
        raise InputError(f"{target} cannot be written: {problem.strerror}", "choose another place with -o") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _remove_empty(made)


def sums_of(folder: Path) -> str:
    """Returns a line for each file in a folder and those below, but SHA256SUMS itself: its digest and its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    )


def _seal(folder: Path) -> None:
    (folder / SUMS).write_text(sums_of(folder), encoding="utf-8")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o444)
    folder.chmod(0o755)  # temporary folders are for one user alone


def _must_be_free(target: Path) -> None:
    if os.path.lexists(target):
        raise InputError(f"{target} exists already", "choose another name with -o; nothing is written over")


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:  # the innermost first; one that holds the target stays
        with suppress(OSError):
            folder.rmdir()
