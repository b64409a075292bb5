"""Creates a folder that appears complete or not at all, and never replaces another."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlcycle import files
from mlcycle.errors import InputError


def must_be_free(target: Path) -> None:
    """Checks before the work starts that a folder can be created.

    Raises:
        InputError: it already exists, or cannot be created there.
    """
    if os.path.lexists(target):
        raise InputError(f"{target} already exists", "choose a new folder with --out; nothing is overwritten")
    parent = next((each for each in target.absolute().parents if os.path.lexists(each)), target)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(
            f"{target} cannot be written: no write permission in {parent}", "choose another place with --out"
        )


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yields an empty sibling folder to write to, which is renamed to the target at the end.

    If an error is raised, nothing is left of it.

    Raises:
        InputError: the target already exists or cannot be written, or a file copied into it cannot be read.
    """
    must_be_free(target)
    with files.attributed(target, "choose another place with --out"), files.atomic_folder(target) as folder:
        yield folder


@contextmanager
def locked(draft: Path, lock: str, target: Path) -> Iterator[None]:
    """Creates a draft folder, if it does not exist, and locks a file in it against other processes.

    For a folder whose writing can be resumed until it becomes the target. The lock ends with the process.

    Raises:
        InputError: another process has locked it, or has finished it meanwhile.
        OSError: it cannot be created.
    """
    draft.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(draft / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _lock(descriptor, draft / lock):
            raise InputError(
                f"{target} is being written by another process", "wait for it, or choose another folder with --out"
            )
        must_be_free(target)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, file: Path) -> bool:
    """Locks an open file; False if another process has locked it, or has moved its folder away meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
