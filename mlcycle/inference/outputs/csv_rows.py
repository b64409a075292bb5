"""Rows of CSV, which any reader takes apart again, whatever an image is called."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, TextIO


class Rows:
    """Writes rows that end in a newline."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Python quotes what holds a character of the line's end, and readers take a lone carriage return for one too.
        self._writer = csv.writer(self, lineterminator="\r\n")

    def writerow(self, values: Iterable[Any]) -> None:
        """Writes the values of a row; None becomes nothing."""
        self._writer.writerow(values)

    def write(self, row: str) -> None:
        """Takes what the csv module has made of a row."""
        self._stream.write(row.removesuffix("\r\n") + "\n")
