"""Notes in a ledger: what is known of a run, or of one of its images, beside its records.

The table is created with the first note, so that a ledger without notes is what it was before there were any.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlcycle.inference.batch.ledger_file import as_input_errors, damaged
from mlcycle.inference.batch.ledger_row import digest_of
from mlcycle.inference.record import Identity

_TABLE = (
    "create table if not exists notes (kind text not null, input blob not null, part integer not null, "
    "value text not null, digest text not null, primary key (kind, input, part)) without rowid"
)
# The identity of notes about the whole run.
_RUN = (b"", 0)


class Notes:
    """The notes of an open ledger. Values are JSON; each note has a kind, and is about the run or about an image."""

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self._folder, self._database = folder, database

    def get(self, kind: str, identity: Identity = _RUN) -> Any:
        """Returns a note about an image, or about the run; None if there is none.

        Raises:
            InputError: the ledger is damaged.
        """
        return next(
            (value for _, value in self._rows("where kind = ? and input = ? and part = ?", kind, *identity)), None
        )

    def all(self, kind: str) -> Iterator[tuple[Identity, Any]]:
        """Yields identity and value of all notes of a kind, in the order of their images' bytes and parts.

        Raises:
            InputError: the ledger is damaged.
        """
        return self._rows("where kind = ? order by input, part", kind)

    def set(self, kind: str, value: Any, identity: Identity = _RUN) -> None:
        """Writes a note, replacing an older one.

        Raises:
            InputError: the disk is full, or fails.
        """
        row = (kind, *identity, json.dumps(value, ensure_ascii=True, allow_nan=False))
        with as_input_errors(self._folder):
            self._database.execute(_TABLE)
            self._database.execute("insert or replace into notes values (?, ?, ?, ?, ?)", (*row, digest_of(*row)))

    def remove(self, kind: str, identity: Identity = _RUN) -> None:
        """Removes a note, if there is one."""
        if self._exist():
            with as_input_errors(self._folder):
                self._database.execute("delete from notes where (kind, input, part) = (?, ?, ?)", (kind, *identity))

    def _rows(self, clauses: str, *values: Any) -> Iterator[tuple[Identity, Any]]:
        if not self._exist():
            return
        with as_input_errors(self._folder):
            # All at once: the caller may write notes meanwhile.
            rows = self._database.execute(f"select * from notes {clauses}", values).fetchall()
        for *row, digest in rows:
            if digest != digest_of(*row):
                raise damaged(self._folder)
            yield (row[1], row[2]), json.loads(row[3])

    def _exist(self) -> bool:
        with as_input_errors(self._folder):
            return self._database.execute("select 1 from sqlite_master where name = 'notes'").fetchone() is not None
