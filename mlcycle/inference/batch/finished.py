"""What a resumed run need not do again: images that are finished, unchanged, and still have their copies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.inference.batch.ledger import Ledger
from mlcycle.inference.batch.ledger_row import Row
from mlcycle.inference.record import is_first_of_file

if TYPE_CHECKING:
    from mlcycle.inference.record import Record, Source


class FinishedImages:
    """The finished images of a ledger, as FinishedRecords; forgets those that must be processed again.

    Attributes:
        changed: number of files that have changed since their records were made.
        incomplete: number of images that lack a copy.
    """

    def __init__(
        self, ledger: Ledger, folder: Path, advance: Callable[[], object], conceal: Callable[[str], str]
    ) -> None:
        self._ledger, self._folder, self._advance, self._conceal = ledger, folder, advance, conceal
        self._has_copies = bool(ledger.settings.get("copies"))
        self._file: bytes | None = None  # whose parts are coming
        self.changed = self.incomplete = 0

    def has(self, source: Source) -> bool:
        """Returns whether an image is finished; reports progress for the first of a file."""
        file, part = source.identity
        if file != self._file:
            self._file = file
            if not self._ledger.see(file, state_of(source, self._conceal)):
                self._forget(file)
        row = self._ledger.row((file, part))
        if row and self._has_copies and not all(map(_is_filled, self._paths(row))):
            self._ledger.forget(file, part)
            self.incomplete += 1
            return False
        if row and is_first_of_file(source.part):
            self._advance()
        return row is not None

    def find(self, source: Source) -> Record:
        """Returns the record of a finished image."""
        row = self._ledger.row(source.identity)
        assert row is not None
        return self._ledger.record(row)

    def _forget(self, file: bytes) -> None:
        """Forgets a file that has changed, and removes its copies, which would be taken for those of another run."""
        folders = [os.path.realpath(self._base() / each) for each in self._ledger.settings.get("copies", {}).values()]
        for path in [each for row in list(self._ledger.rows_of(file)) for each in self._paths(row)]:
            # A ledger from elsewhere must not remove anything else.
            if any(Path(os.path.realpath(path.parent)).is_relative_to(folder) for folder in folders):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    path.parent.rmdir()  # of crops
        self._ledger.forget(file)
        self.changed += 1

    def _paths(self, row: Row) -> list[Path]:
        return [self._base() / each for each in row.copies()]

    def _base(self) -> Path:
        """Returns the folder that paths in records are relative to."""
        return self._folder if self._ledger.settings.get("private") else Path()


def is_folder_of(ledger: Ledger, sources: Iterable[Source], conceal: Callable[[str], str]) -> bool:
    """Returns whether images are all those of a run, unchanged, under another folder's name."""
    for source in sources:
        ledger.see(source.identity[0], state_of(source, conceal))
    return ledger.count_strangers() == 0


def state_of(source: Source, conceal: Callable[[str], str]) -> str:
    """Returns the size in bytes and modification time of a file as one text, concealed; "" if it is missing."""
    try:
        status = source.path.stat()
    except (OSError, ValueError):
        return ""
    return conceal(f"{status.st_size} {status.st_mtime_ns}")


def _is_filled(path: Path) -> bool:
    """Returns whether a file exists and is not empty, as one is that lost its bytes in a power cut."""
    try:
        return path.stat().st_size > 0
    except (OSError, ValueError):
        return False
