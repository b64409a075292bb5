"""A folder that appears whole or not at all, with the digests of its files in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlcycle import files
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
    made = [each for each in target.parents if not each.exists()]
    if os.path.lexists(target):
        raise InputError(f"{target} exists already", "choose another name with -o; nothing is written over")
    try:
        with files.attributed(target, "choose another place with -o"), files.atomic_folder(target) as folder:
            yield folder
            _seal(folder)
    finally:
        for each in made:  # the innermost first; one that holds the target stays
            with suppress(OSError):
                each.rmdir()


def sums_of(folder: Path) -> str:
    """Returns a line for each file in a folder and those below, but SHA256SUMS itself: its digest and its name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in paths
    )


def _seal(folder: Path) -> None:
    (folder / SUMS).write_text(sums_of(folder), encoding="utf-8")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o444)
