"""The text page of an examination: a mark, a name and a sentence in each row."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcycle.doctor.verdict import Row

MARK = 9
LEAST_WIDTH = 20
# A command is not wrapped, so that it can be copied.
_COMMAND = re.compile(r"\b(?:pip|mlcycle) .+?(?=,|;| for | waits |$)")
_GLUE = "\N{NO-BREAK SPACE}"

Paint = Callable[[str, str], str]


def render(sections: dict[str, list[Row]], width: int | None, paint: Paint) -> str:
    """Returns the page.

    Args:
        sections: rows by their heading.
        width: columns of the terminal, at which lines are wrapped; None wraps none.
        paint: takes a word and its kind, "heading" or a mark, and returns the word with or without colour.
    """
    lines = []
    for heading, rows in sections.items():
        lines += [paint(heading, "heading"), *_section(rows, width, paint), ""]
    return "\n".join([*lines, _summary(sections)])


def _section(rows: list[Row], width: int | None, paint: Paint) -> Iterator[str]:
    names = max(len(row.name) for row in rows) + 2
    indent = " " * (2 + MARK + names)
    for row in rows:
        first, *rest = _wrapped(_printable(row.text), width, indent)
        mark = f"{paint(row.level.value, row.level.value)}{' ' * (MARK - len(row.level.value))}"
        yield f"  {mark}{row.name:<{names}}{first}".rstrip()
        yield from (indent + line for line in rest)
        if row.hint:
            yield from (indent + line for line in _wrapped(f"hint: {_printable(row.hint)}", width, indent))


def _wrapped(text: str, width: int | None, indent: str) -> list[str]:
    if width is None:
        return [text]
    columns = max(width - len(indent), LEAST_WIDTH)
    glued = _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), text)
    lines = textwrap.wrap(glued, columns, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_GLUE, " ") for line in lines] or [""]


def _summary(sections: dict[str, list[Row]]) -> str:
    levels = [row.level.value for rows in sections.values() for row in rows]
    counts = {level: levels.count(level) for level in ("problem", "warning")}
    parts = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count]
    return ", ".join(parts) if parts else "no problems found"


def _printable(text: str) -> str:
    """Escapes a text for a terminal: a path can contain bytes that are not UTF-8, and control characters."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
