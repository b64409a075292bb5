"""Attributes of labelled faces, such as perceived age or skin tone, from a CSV file: for evaluation, never training.

The first row names the columns. `file` is an image's name in its set, `face` the row of the face among the image's
labels, from 0; every other column is an attribute. An empty value is unknown.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from mlcycle.errors import DataError

FILE, FACE = "file", "face"


@dataclass(frozen=True, slots=True)
class FaceAttributes:
    """The contents of a file: the attributes' `names`, and for each (image name, face) its `values` by name."""

    names: tuple[str, ...]
    values: dict[tuple[str, int], dict[str, str]]


def read_attributes(path: Path) -> FaceAttributes:
    """Reads a file of attributes.

    Raises:
        DataError: the file is missing, lacks a column, lists a face twice, or has a face that is not a whole number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            names = tuple(name for name in rows.fieldnames or () if name not in (FILE, FACE))
            if not {FILE, FACE} <= set(rows.fieldnames or ()) or not names:
                raise DataError(f"{path} lacks a column", f"its first row is: {FILE},{FACE},ATTRIBUTE,…")
            return FaceAttributes(names, _values(path, rows, names))
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{path} is not a CSV file: {problem}") from None


def _values(path: Path, rows: csv.DictReader[str], names: tuple[str, ...]) -> dict[tuple[str, int], dict[str, str]]:
    values: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        face = row[FACE] or ""
        where = f"{path}:{rows.line_num}"
        if not (face.isascii() and face.isdigit()):
            raise DataError(f"{where}: the face is {face!r}, not a row of the labels", "rows are counted from 0")
        if (row[FILE], int(face)) in values:
            raise DataError(f"{where}: face {face} of {row[FILE]} is listed twice", "keep one")
        values[row[FILE], int(face)] = {name: row[name] for name in names if row[name]}
    return values
