"""CSV rows that any reader parses correctly, and no spreadsheet runs, whatever the names of images contain."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, Protocol

# A spreadsheet takes a text that begins so for a formula; the last four are the wide forms of East Asian keyboards.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


class TextStream(Protocol):
    """What the rows are written to."""

    def write(self, text: str, /) -> object: ...


class Rows:
    """Writes rows that end in a newline."""

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream
        # Python quotes values with a character of the line terminator; readers also treat a lone \r as a line end.
        self._writer = csv.writer(self, lineterminator="\r\n")

    def writerow(self, values: Iterable[Any]) -> None:
        """Writes the values of a row; None becomes an empty field, and a text like a formula gets ./ in front."""
        self._writer.writerow(f"./{each}" if _is_formula(each) else each for each in values)

    def write(self, row: str) -> None:
        """Receives a row from the csv module."""
        self._stream.write(row.removesuffix("\r\n") + "\n")


def _is_formula(value: Any) -> bool:
    if not isinstance(value, str) or not value.startswith(_FORMULA) or value == "-":  # which is standard input
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False
