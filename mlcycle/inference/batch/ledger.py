"""The ledger of a batch run: the records of all finished images, so that an interrupted run can be resumed.

It is an SQLite database, ledger.sqlite in the run folder, held by one process at a time. Records are written
atomically, however the process ends. An image is finished when its record is in the ledger.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlcycle.errors import InputError, UsageError
from mlcycle.inference.record import Record, json_line

NAME = "ledger.sqlite"
FORMAT = 1
# Records per commit. The uncommitted records of a killed process are computed again.
COMMIT_EVERY = 16
_TABLES = """
create table about (name text primary key, value text not null) without rowid;
create table records (
    input blob not null, part integer not null, status text not null, code text, faces integer not null,
    line text not null, primary key (input, part)
) without rowid;
"""


class Ledger:
    """An open ledger, held by this process until `close`.

    Attributes:
        settings: everything that affects the records, from the start of the run: model, threshold, copies …
        token: common part of the temporary names of this run's copies.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self._folder, self._database = folder, database
        about = dict(database.execute("select name, value from about"))
        self.settings: dict[str, Any] = json.loads(about["settings"])
        self.token: str = about["token"]
        self._uncommitted = 0

    def __len__(self) -> int:
        (count,) = self._database.execute("select count(*) from records").fetchone()
        return int(count)

    def has(self, identity: tuple[bytes, int]) -> bool:
        """Returns whether an image, or a part of a file, is finished."""
        found = self._database.execute("select 1 from records where input = ? and part = ?", identity).fetchone()
        return found is not None

    def find(self, identity: tuple[bytes, int]) -> Record:
        """Returns the record of a finished image, or part of a file."""
        query = "select line from records where input = ? and part = ?"
        (text,) = self._database.execute(query, identity).fetchone()
        return Record.from_dict(json.loads(text), tuple(self.settings["landmarks"]))

    def add(self, record: Record) -> None:
        """Adds a record, replacing an older one of the image; without times, which differ between runs.

        Raises:
            InputError: the disk is full, or fails.
        """
        code = record.error[0] if record.error else None
        values = (
            *record.identity,
            record.status,
            code,
            len(record.scores_N),
            json_line(replace(record, milliseconds={})),
        )
        with _as_input_errors(self._folder):
            if not self._database.in_transaction:
                self._database.execute("begin")
            self._database.execute("insert or replace into records values (?, ?, ?, ?, ?, ?)", values)
            self._uncommitted += 1
            if self._uncommitted >= COMMIT_EVERY:
                self.commit()

    def commit(self) -> None:
        """Commits all added records."""
        self._uncommitted = 0
        if self._database.in_transaction:  # on a full disk SQLite has already ended it
            with _as_input_errors(self._folder):
                self._database.execute("commit")

    def forget_failed(self) -> int:
        """Removes the records with an error, so that these images are not finished; returns their number."""
        with _as_input_errors(self._folder):
            return self._database.execute("delete from records where status = 'error'").rowcount

    def records(self) -> Iterator[Record]:
        """Yields all records, in the order of their inputs' bytes and of their parts."""
        names = tuple(self.settings["landmarks"])
        for (text,) in self._database.execute("select line from records order by input, part"):
            yield Record.from_dict(json.loads(text), names)

    def counts(self) -> Counter[str]:
        """Returns the number of records of each status and of each error code, and the number of faces."""
        counts: Counter[str] = Counter()
        rows = self._database.execute("select status, code, count(*), sum(faces) from records group by status, code")
        for status, code, count, faces in rows:
            counts[status] += count
            counts["faces"] += faces
            if code:
                counts[f"error {code}"] += count
        return counts

    def close(self) -> None:
        """Commits the added records and releases the ledger."""
        try:
            self.commit()
        finally:
            self._database.close()


def begin(folder: Path, settings: Mapping[str, Any]) -> Ledger:
    """Creates the ledger of a new run in a folder, which is created too.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    with _as_input_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        database = _open(folder / NAME)
        # One transaction: a process killed here leaves no ledger, and the next one starts again.
        about = {"format": str(FORMAT), "settings": json.dumps(dict(settings)), "token": os.urandom(8).hex()}
        database.executescript(f"begin exclusive; {_TABLES}")
        database.executemany("insert into about values (?, ?)", about.items())
        database.execute("commit")
        return Ledger(folder, database)


def resume(folder: Path) -> Ledger | None:
    """Opens the ledger in a folder; None if a process was killed before it had created the tables.

    Raises:
        InputError: another process holds it, it is damaged, or cannot be read.
    """
    with _as_input_errors(folder):
        database = _open(folder / NAME)
        if not database.execute("select 1 from sqlite_master where name = 'records'").fetchone():
            database.close()
            return None
        (number,) = database.execute("select value from about where name = 'format'").fetchone()
        if number != str(FORMAT):
            database.close()
            raise InputError(
                f"the ledger in {folder} has format {number}; this mlcycle reads format {FORMAT}",
                "resume with the mlcycle version that started the run, or choose another folder",
            )
        return Ledger(folder, database)


def exists(folder: Path) -> bool:
    """Returns whether a folder has a ledger."""
    return (folder / NAME).exists()


def remove(folder: Path) -> None:
    """Removes a ledger, so that a new one can be created.

    Raises:
        InputError: another process holds it.
    """
    with _as_input_errors(folder):
        _open(folder / NAME).close()  # raises if it is held
        for suffix in ("-wal", "-shm", ""):
            Path(f"{folder / NAME}{suffix}").unlink(missing_ok=True)


def must_agree(ledger: Ledger, settings: Mapping[str, Any], folder: Path) -> None:
    """Raises UsageError if a run was started with other settings than the given ones."""
    for name, value in settings.items():
        was = ledger.settings.get(name)
        if was != value:
            raise UsageError(
                f"the run in {folder} was started with {name} {_text(was)}, not {_text(value)}",
                "pass the same options, or choose another folder with --out",
            )


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    # Locked while it is open, so that the write-ahead log needs no shared memory, which network file systems lack.
    database.execute("pragma locking_mode = exclusive")
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    database.execute("begin exclusive")
    database.execute("commit")
    return database


@contextmanager
def _as_input_errors(folder: Path) -> Iterator[None]:
    """Turns errors of SQLite and the system into InputErrors with hints."""
    try:
        yield
    except sqlite3.Error as problem:
        raise _input_error(problem, folder) from problem
    except OSError as problem:
        raise InputError(f"{folder} cannot be written: {problem.strerror}", "choose another folder") from None


def _input_error(problem: sqlite3.Error, folder: Path) -> InputError:
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return InputError(f"another process uses {folder}", "wait until it ends, or choose another folder")
    if code == sqlite3.SQLITE_FULL:
        return InputError(f"the disk of {folder} is full", "free disk space, then continue with --resume")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return InputError(
            f"the ledger in {folder} is damaged", "choose another folder, and keep this one to examine it"
        )
    return InputError(f"the ledger in {folder} cannot be used: {problem}", "choose another folder with --out")
