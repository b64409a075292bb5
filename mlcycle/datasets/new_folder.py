"""A folder that appears whole or not at all, and never in the place of another."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlcycle import files
from mlcycle.errors import InputError


def must_be_free(target: Path) -> None:
    """Finds out before the work that a folder can be made.

    Raises:
        InputError: something is there already, or nothing can be written there.
    """
    if os.path.lexists(target):
        raise InputError(f"{target} is there already", "name a new folder with --out; nothing is written over")
    around = next((each for each in target.absolute().parents if os.path.lexists(each)), target)
    if not os.access(around, os.W_OK | os.X_OK):
        raise InputError(
            f"{target} cannot be written: nothing can be made in {around}", "choose another place with --out"
        )


@contextmanager
def filled(target: Path) -> Iterator[Path]:
    """Yields an empty folder beside the target to be filled, which becomes the target at the end.

    Where anything is raised, nothing is left of it.

    Raises:
        InputError: the target is there already or cannot be written, or what goes into it cannot be read.
    """
    must_be_free(target)
    with files.attributed(target, "choose another place with --out"), files.atomic_folder(target) as folder:
        yield folder


@contextmanager
def held(draft: Path, lock: str, target: Path) -> Iterator[None]:
    """Makes a folder, if it is not there, and holds it against other processes by a locked file in it.

    For a folder that is gone on with until it becomes the target. The lock goes with the process, however that ends.

    Raises:
        InputError: another process holds it, or has finished it meanwhile.
        OSError: it cannot be made.
    """
    draft.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(draft / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _is_locked(descriptor, draft / lock):
            raise InputError(
                f"{target} is being written by another process", "wait for it, or name another folder with --out"
            )
        must_be_free(target)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, file: Path) -> bool:
    """Locks an open file and tells whether it is still in its place: who held it may have moved the folder away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
