"""CSV rows that any reader parses correctly, whatever the names of images contain."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, TextIO


class Rows:
    """Writes rows that end in a newline."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Python quotes values with a character of the line terminator; readers also treat a lone \r as a line end.
        self._writer = csv.writer(self, lineterminator="\r\n")

    def writerow(self, values: Iterable[Any]) -> None:
        """Writes the values of a row; None becomes an empty field."""
        self._writer.writerow(values)

    def write(self, row: str) -> None:
        """Receives a row from the csv module."""
        self._stream.write(row.removesuffix("\r\n") + "\n")
