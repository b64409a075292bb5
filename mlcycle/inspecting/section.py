"""Sections of named values and small tables, which are shown in a terminal or as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MISSING = "not given in the file"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with headings. All columns but the first contain numbers, unless `words` is set."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, followed by a sentence, named values, a table, and suggested commands.

    Texts are unescaped values of the file. The code that shows them must escape them.
    """

    title: str
    rows: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    sentence: str = ""
    commands: tuple[str, ...] = ()


def shown(value: Any) -> str:
    """Returns a JSON value as text."""
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    return str(value)
