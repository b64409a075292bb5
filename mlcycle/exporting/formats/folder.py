"""Writes a folder atomically, with the digests of its files."""

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
    """Yields an empty folder next to the target. After the block it becomes the target, with read-only files.

    SHA256SUMS lists all files in the format of `sha256sum -c`. If an exception is raised, nothing is left of the
    folder, nor of parent folders that were created for it.

    Raises:
        InputError: the target exists, or cannot be written.
    """
    created = [each for each in target.parents if not each.exists()]
    if os.path.lexists(target):
        raise InputError(f"{target} already exists", "choose another name with -o; nothing is overwritten")
    try:
        with files.attributed(target, "choose another folder with -o"), files.atomic_folder(target) as folder:
            yield folder
            _seal(folder)
    finally:
        for each in created:  # innermost first; a folder that contains the target stays
            with suppress(OSError):
                each.rmdir()


def sums_of(folder: Path) -> str:
    """Returns one line with digest and name for each file below a folder, except SHA256SUMS."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in paths
    )


def _seal(folder: Path) -> None:
    (folder / SUMS).write_text(sums_of(folder), encoding="utf-8")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o444)
