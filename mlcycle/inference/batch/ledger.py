"""The ledger of a batch: what has been answered so far, so that a batch that was broken off can be gone on with.

It is an SQLite database, ledger.sqlite in the folder of the run, which one process at a time holds. A record is in it
whole or not at all, whatever ends the process, and an image counts as done when its record is in it.
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
from mlcycle.inference.record import Record, line

NAME = "ledger.sqlite"
FORMAT = 1
# Records between two commits. Those that a killed process had not committed are asked for again.
TOGETHER = 16
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
        settings: what decides the answers, as at the first start: model, threshold, copies …
        token: what the temporary names of this run have in common.
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
        """Tells whether an image, or one of the parts of a file, is done."""
        found = self._database.execute("select 1 from records where input = ? and part = ?", identity).fetchone()
        return found is not None

    def find(self, identity: tuple[bytes, int]) -> Record:
        """Returns the record of an image, or of one of the parts of a file, that is done."""
        query = "select line from records where input = ? and part = ?"
        (text,) = self._database.execute(query, identity).fetchone()
        return Record.from_dict(json.loads(text), tuple(self.settings["landmarks"]))

    def add(self, record: Record) -> None:
        """Takes a record in, in the place of an older one of the image; not its times, which no two runs share.

        Raises:
            InputError: the disk is full, or fails.
        """
        code = record.error[0] if record.error else None
        values = (*record.identity, record.status, code, len(record.scores_N), line(replace(record, milliseconds={})))
        with _told(self._folder):
            if not self._database.in_transaction:
                self._database.execute("begin")
            self._database.execute("insert or replace into records values (?, ?, ?, ?, ?, ?)", values)
            self._uncommitted += 1
            if self._uncommitted >= TOGETHER:
                self.commit()

    def commit(self) -> None:
        """Makes sure of all records that were added."""
        self._uncommitted = 0
        if self._database.in_transaction:  # when a disk is full, SQLite has ended it already
            with _told(self._folder):
                self._database.execute("commit")

    def forget_failed(self) -> int:
        """Takes out the records with an error, so that these images are not done; returns how many there were."""
        with _told(self._folder):
            return self._database.execute("delete from records where status = 'error'").rowcount

    def records(self) -> Iterator[Record]:
        """Yields all records, in the order of their inputs' bytes and of their parts."""
        names = tuple(self.settings["landmarks"])
        for (text,) in self._database.execute("select line from records order by input, part"):
            yield Record.from_dict(json.loads(text), names)

    def counts(self) -> Counter[str]:
        """Returns how many records there are of each status and of each error code, and how many faces."""
        counts: Counter[str] = Counter()
        rows = self._database.execute("select status, code, count(*), sum(faces) from records group by status, code")
        for status, code, count, faces in rows:
            counts[status] += count
            counts["faces"] += faces
            if code:
                counts[f"error {code}"] += count
        return counts

    def close(self) -> None:
        """Commits what was added and lets go of the ledger."""
        try:
            self.commit()
        finally:
            self._database.close()


def begin(folder: Path, settings: Mapping[str, Any]) -> Ledger:
    """Begins the ledger of a new run in a folder, which is made.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        database = _open(folder / NAME)
        # All in one transaction: a process killed in here leaves no ledger behind, and the next one begins anew.
        about = {"format": str(FORMAT), "settings": json.dumps(dict(settings)), "token": os.urandom(8).hex()}
        database.executescript(f"begin exclusive; {_TABLES}")
        database.executemany("insert into about values (?, ?)", about.items())
        database.execute("commit")
        return Ledger(folder, database)


def resume(folder: Path) -> Ledger | None:
    """Opens the ledger in a folder; None where a process was killed before it had begun one.

    Raises:
        InputError: another process holds it, it is damaged, or cannot be read.
    """
    with _told(folder):
        database = _open(folder / NAME)
        if not database.execute("select 1 from sqlite_master where name = 'records'").fetchone():
            database.close()
            return None
        (number,) = database.execute("select value from about where name = 'format'").fetchone()
        if number != str(FORMAT):
            database.close()
            raise InputError(
                f"the ledger in {folder} has format {number}; this mlcycle reads format {FORMAT}",
                "go on with the mlcycle that began it, or choose another folder",
            )
        return Ledger(folder, database)


def is_there(folder: Path) -> bool:
    """Tells whether a folder holds a ledger."""
    return (folder / NAME).exists()


def remove(folder: Path) -> None:
    """Takes a ledger away, so that another can be begun.

    Raises:
        InputError: another process holds it.
    """
    with _told(folder):
        _open(folder / NAME).close()  # raises if it is held
        for suffix in ("-wal", "-shm", ""):
            Path(f"{folder / NAME}{suffix}").unlink(missing_ok=True)


def must_agree(ledger: Ledger, settings: Mapping[str, Any], folder: Path) -> None:
    """Raises UsageError if a run was begun with other settings than it is to be gone on with."""
    for name, value in settings.items():
        was = ledger.settings.get(name)
        if was != value:
            raise UsageError(
                f"the run in {folder} was begun with {name} {_said(was)}, not {_said(value)}",
                "give the same options, or choose another folder with --out",
            )


def _said(value: Any) -> str:
    return "none" if value is None else str(value)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    # Held for as long as it is open. So the write-ahead log needs no memory that processes share, which network file
    # systems cannot give.
    database.execute("pragma locking_mode = exclusive")
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    database.execute("begin exclusive")
    database.execute("commit")
    return database


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turns what SQLite and the system say into an error that says what to do."""
    try:
        yield
    except sqlite3.Error as problem:
        raise _in_our_words(problem, folder) from problem
    except OSError as problem:
        raise InputError(f"{folder} cannot be written: {problem.strerror}", "choose another folder") from None


def _in_our_words(problem: sqlite3.Error, folder: Path) -> InputError:
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return InputError(f"another process is at work in {folder}", "wait for its end, or choose another folder")
    if code == sqlite3.SQLITE_FULL:
        return InputError(f"the disk that holds {folder} is full", "make room, then go on with --resume")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return InputError(f"the ledger in {folder} is damaged", "choose another folder, and keep this one for a look")
    return InputError(f"the ledger in {folder} cannot be used: {problem}", "choose another folder with --out")
