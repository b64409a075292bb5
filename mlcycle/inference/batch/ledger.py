"""The ledger of a batch run: the records of all finished images, so that an interrupted run can be resumed.

It is an SQLite database, ledger.sqlite in the run folder, held by one process at a time. Records are written
atomically, however the process ends. An image is finished when its record is in the ledger. Each record has a digest
and the state of its file, so that damage and changed images are noticed.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlcycle.errors import InputError, UsageError
from mlcycle.inference.batch import ledger_file
from mlcycle.inference.batch.ledger_file import NAME, as_input_errors, damaged, open_database
from mlcycle.inference.batch.ledger_notes import Notes
from mlcycle.inference.batch.ledger_row import COLUMNS, Row, digest_of
from mlcycle.inference.record import Identity, Record, json_line

FORMAT = 2
# Records per commit. The uncommitted records of a killed process are computed again.
COMMIT_EVERY = 16
# What concerns the whole run is there twice, on different pages of the file.
_ABOUT = ("about", "about_again")
_TABLES = (
    *(f"create table {each} (name text primary key, value text not null) without rowid" for each in _ABOUT),
    f"create table records ({COLUMNS}, primary key (input, part)) without rowid",
)
# The files that this process has seen, with their states; this table is in a temporary file.
_SEEN = "create temp table seen (input blob primary key, state text not null) without rowid"


class Ledger:
    """An open ledger, held by this process until `close`.

    Attributes:
        settings: everything that affects the records, from the start of the run: model, threshold, copies …
        token: common part of the temporary names of this run's copies.
        notes: what is known beside the records.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection, about: Mapping[str, str]) -> None:
        self._folder, self._database = folder, database
        self._database.execute(_SEEN)
        self.settings: dict[str, Any] = json.loads(about["settings"])
        self.token: str = about["token"]
        self.notes = Notes(folder, database)
        self._uncommitted = 0

    def __len__(self) -> int:
        (count,) = self._database.execute("select count(*) from records").fetchone()
        return int(count)

    def see(self, file: bytes, state: str) -> bool:
        """Notes that a file is there in a state; returns whether its records, if any, were made of this state."""
        self._database.execute("insert or replace into seen values (?, ?)", (file, state))
        query = "select 1 from records where input = ? and state != ? limit 1"
        return self._database.execute(query, (file, state)).fetchone() is None

    def count_strangers(self) -> int:
        """Returns the number of records whose file has not been seen, or in another state."""
        query = "select count(*) from records left join seen using (input) where seen.state is not records.state"
        (count,) = self._database.execute(query).fetchone()
        return int(count)

    def mark_gone(self) -> int:
        """Marks the records whose file has not been seen; returns their number."""
        gone = "(input not in (select input from seen))"
        rows = [Row(*each) for each in self._database.execute(f"select * from records where gone != {gone}")]
        for row in rows:
            self.put(row._replace(gone=1 - row.gone).sealed())
        self.commit()
        (count,) = self._database.execute("select count(*) from records where gone").fetchone()
        return int(count)

    def has(self, identity: Identity) -> bool:
        """Returns whether an image, or a part of a file, is finished."""
        return self.row(identity) is not None

    def row(self, identity: Identity) -> Row | None:
        """Returns the row of an image, or of a part of a file, if it is finished."""
        return next(self._rows("where input = ? and part = ?", identity), None)

    def rows_of(self, file: bytes) -> Iterator[Row]:
        """Yields the rows of all parts of a file."""
        return self._rows("where input = ? order by part", (file,))

    def rows(self) -> Iterator[Row]:
        """Yields all rows, in the order of their inputs' bytes and of their parts.

        Raises:
            InputError: the ledger is damaged.
        """
        return self._rows("order by input, part")

    def undamaged_rows(self) -> Iterator[Row]:
        """Yields what can be read of a damaged ledger: from its beginning and from its end; a row may come twice."""
        for order in ("order by input, part", "order by input desc, part desc"):
            try:
                for values in self._database.execute(f"select * from records {order}"):
                    if (row := Row(*values)).is_whole():
                        yield row
            except sqlite3.DatabaseError:  # a damaged page; the pages behind it are read from the end
                continue
            return

    def records(self) -> Iterator[Record]:
        """Yields all records, in the order of `rows`."""
        return (self.record(row) for row in self.rows())

    def record(self, row: Row) -> Record:
        """Returns the record in a row."""
        return row.record(tuple(self.settings["landmarks"]))

    def add(self, record: Record) -> None:
        """Adds a record, replacing an older one of the image; without times, which differ between runs.

        Raises:
            InputError: the disk is full, or fails.
        """
        file, part = record.identity
        seen = self._database.execute("select state from seen where input = ?", (file,)).fetchone()
        code = record.error[0] if record.error else None
        line = json_line(replace(record, milliseconds={}))
        state, faces = seen[0] if seen else "", len(record.scores_N)
        self.put(Row(file, part, state, 0, record.status, code, faces, line).sealed())

    def put(self, row: Row) -> None:
        """Writes a row as it is.

        Raises:
            InputError: the disk is full, or fails.
        """
        with as_input_errors(self._folder):
            if not self._database.in_transaction:
                self._database.execute("begin")
            marks = ", ".join("?" * len(row))
            self._database.execute(f"insert or replace into records values ({marks})", row)
            self._uncommitted += 1
            if self._uncommitted >= COMMIT_EVERY:
                self.commit()

    def commit(self) -> None:
        """Commits all added records."""
        self._uncommitted = 0
        if self._database.in_transaction:  # on a full disk SQLite has already ended it
            with as_input_errors(self._folder):
                self._database.execute("commit")

    def forget_failed(self) -> int:
        """Removes the records with an error, so that these images are not finished; returns their number."""
        return self._delete("status = 'error'")

    def forget(self, file: bytes, part: int | None = None) -> None:
        """Removes the records of a file, or of one of its parts, so that they are not finished."""
        self._delete("input = ? and ifnull(part = ?, true)", (file, part))

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

    def count_frames(self) -> int:
        """Returns the number of records that are of frames of videos."""
        # Quotes within the line's texts are escaped, so that no name looks like this.
        query = "select count(*) from records where part and instr(line, ?)"
        (count,) = self._database.execute(query, ('"part": {"kind": "frame"',)).fetchone()
        return int(count)

    def close(self) -> None:
        """Commits the added records and releases the ledger."""
        try:
            self.commit()
        finally:
            self._database.close()

    def _delete(self, condition: str, values: tuple[Any, ...] = ()) -> int:
        with as_input_errors(self._folder):
            return self._database.execute(f"delete from records where {condition}", values).rowcount

    def _rows(self, clauses: str, values: tuple[Any, ...] = ()) -> Iterator[Row]:
        with as_input_errors(self._folder):
            for each in self._database.execute(f"select * from records {clauses}", values):
                if not (row := Row(*each)).is_whole():
                    raise damaged(self._folder)
                yield row


def begin(folder: Path, settings: Mapping[str, Any]) -> Ledger:
    """Creates the ledger of a new run in a folder, which is created too.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    with as_input_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        database = open_database(folder / NAME)
        # One transaction: a process killed here leaves no ledger, and the next one starts again.
        about = {"format": str(FORMAT), "settings": json.dumps(dict(settings)), "token": os.urandom(8).hex()}
        database.executescript(f"begin exclusive; {'; '.join(_TABLES)}")
        for table in _ABOUT:
            rows = (about | {"digest": digest_of(*sorted(about.items()))}).items()
            database.executemany(f"insert into {table} values (?, ?)", rows)
        database.execute("commit")
        return Ledger(folder, database, about)


def resume(folder: Path, *, salvage: bool = False) -> Ledger | None:
    """Opens the ledger in a folder; None if a process was killed before it had created the tables.

    Args:
        salvage: open a damaged ledger too, for its `undamaged_rows`.

    Raises:
        InputError: another process holds it, it is damaged, or cannot be read.
    """
    with as_input_errors(folder):
        database = open_database(folder / NAME)
        try:
            if not database.execute("select 1 from sqlite_master").fetchone():
                database.close()
                return None
            opened = Ledger(folder, database, _about(folder, database, _ABOUT if salvage else _ABOUT[:1]))
            if not salvage:
                _check(opened, database, folder)
        except BaseException:
            database.close()
            raise
        return opened


def exists(folder: Path) -> bool:
    """Returns whether a folder has a ledger."""
    return (folder / NAME).exists()


def remove(folder: Path) -> None:
    """Removes a ledger, damaged or not, so that a new one can be created.

    Raises:
        InputError: another process holds it.
    """
    with as_input_errors(folder):
        try:
            open_database(folder / NAME).close()  # raises if it is held
        except sqlite3.Error as problem:
            if not ledger_file.is_damage(problem):
                raise
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


def _about(folder: Path, database: sqlite3.Connection, tables: tuple[str, ...]) -> dict[str, str]:
    """Returns what the first undamaged table says of the run."""
    for table in tables:
        try:
            about = dict(database.execute(f"select name, value from {table}"))
        except sqlite3.DatabaseError as problem:
            if not ledger_file.is_damage(problem):
                raise
            continue
        digest = about.pop("digest", None)
        if digest != digest_of(*sorted(about.items())) and about.get("format") != "1":  # which had no digests
            continue
        if about["format"] != str(FORMAT):
            raise InputError(
                f"the ledger in {folder} has format {about['format']}; this mlcycle reads format {FORMAT}",
                "resume with the mlcycle version that started the run, or choose another folder",
            )
        return about
    raise damaged(folder)


def _check(ledger: Ledger, database: sqlite3.Connection, folder: Path) -> None:
    """Raises InputError if a page or a record is damaged."""
    if database.execute("pragma quick_check(1)").fetchone() != ("ok",):
        raise damaged(folder)
    for _ in ledger.rows():
        pass
