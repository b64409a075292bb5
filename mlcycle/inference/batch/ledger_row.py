"""A row of the ledger: a record, the state of its file, and a digest that finds damage."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from mlcycle.inference.record import Record

COLUMNS = (
    "input blob not null, part integer not null, state text not null, gone integer not null, status text not null, "
    "code text, faces integer not null, line text not null, digest text not null"
)
GONE = "its file is gone"


class Row(NamedTuple):
    """A row of the table `records`.

    Attributes:
        input, part: the record's identity.
        state: of the file when it was read; "" if there was none.
        gone: 1 if the file was missing when the folder was last searched, else 0.
        status, code, faces: of the record: its status, its error's code or None, and its number of faces.
        line: the record as JSON.
        digest: of all other columns.
    """

    input: bytes
    part: int
    state: str
    gone: int
    status: str
    code: str | None
    faces: int
    line: str
    digest: str = ""

    def sealed(self) -> Row:
        """Returns the row with its digest."""
        return self._replace(digest=digest_of(*self[:-1]))

    def is_whole(self) -> bool:
        """Returns whether no column has changed since the row was sealed."""
        return self.digest == digest_of(*self[:-1])

    def copies(self) -> list[str]:
        """Returns the paths of all files that were written as copies of the image."""
        values = json.loads(self.line)
        return [each for each in (values["annotated"], values["redacted"], *(values["crops"] or ())) if each]

    def record(self, landmark_names: tuple[str, ...]) -> Record:
        """Returns the record; that of a missing file has a note."""
        values = json.loads(self.line)
        if self.gone:
            values["note"] = "; ".join(filter(None, [values["note"], GONE]))
        return Record.from_dict(values, landmark_names)


def digest_of(*values: Any) -> str:
    """Returns a digest, in hex, of numbers, texts and bytes."""
    return hashlib.blake2b(repr(values).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
