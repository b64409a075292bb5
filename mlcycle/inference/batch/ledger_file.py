"""Opens the file of a ledger, and turns SQLite's errors into InputErrors with hints."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlcycle.errors import InputError

NAME = "ledger.sqlite"
# The statements are always the same: an error in one of them means that the file has other tables than mlcycle wrote.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)


def open_database(path: Path) -> sqlite3.Connection:
    """Opens the database for this process alone, and creates the file if there is none.

    Raises:
        sqlite3.Error: another process holds it, it is damaged, or cannot be read.
    """
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    database.text_factory = _text
    try:
        # Locked while it is open, so that the write-ahead log needs no shared memory, which network file systems lack.
        database.execute("pragma locking_mode = exclusive")
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        database.execute("begin exclusive")
        database.execute("commit")
    except BaseException:
        database.close()  # else this process could hold the lock as long as the error is kept
        raise
    return database


@contextmanager
def as_input_errors(folder: Path) -> Iterator[None]:
    """Turns errors of SQLite and the system into InputErrors with hints."""
    try:
        yield
    except sqlite3.Error as problem:
        raise _input_error(problem, folder) from problem
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise InputError(f"{folder} cannot be written: {why}", "choose another folder") from None


def damaged(folder: Path) -> InputError:
    """Returns the error of a damaged ledger."""
    return InputError(
        f"the ledger in {folder} is damaged",
        f"save its undamaged records by mlcycle infer merge {folder} --salvage --out NEW, and resume NEW",
    )


def is_damage(problem: sqlite3.Error) -> bool:
    """Returns whether an error means that the file is damaged."""
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def _input_error(problem: sqlite3.Error, folder: Path) -> InputError:
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return InputError(f"another process uses {folder}", "wait until it ends, or choose another folder")
    if code == sqlite3.SQLITE_FULL:
        return InputError(f"the disk of {folder} is full", "free disk space, then continue with --resume")
    if is_damage(problem):
        return damaged(folder)
    return InputError(f"the ledger in {folder} cannot be used: {problem}", "choose another folder with --out")


def _text(data: bytes) -> str:
    return os.fsdecode(data)  # also of damaged text, whose digest is then wrong
