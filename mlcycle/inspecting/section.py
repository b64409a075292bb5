"""What people read of a document: sections of named values and small tables, the same in a terminal and in Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MISSING = "not said in the file"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below headings; all columns but the first hold numbers, unless `words` says otherwise."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands below it: first a sentence, then named values, a table, and commands to go on with.

    Texts are as they are in the file: whoever shows them sees to it that no terminal and no browser obeys them.
    """

    title: str
    rows: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    sentence: str = ""
    commands: tuple[str, ...] = ()


def shown(value: Any) -> str:
    """Returns a value of JSON as people read it."""
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    return str(value)


def counted(count: int, what: str) -> str:
    """Returns "1 face" or "1,234 faces"."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")
