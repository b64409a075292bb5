"""Renders sections as Markdown, for a model card that is committed next to a model file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlcycle.inference.record import printable
from mlcycle.inspecting.section import Section, Table

# Inline markup of Markdown. An underscore between letters, as in left_eye, is plain text.
_MARKUP = re.compile(r"[\\`*\[\]<>|~&$#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:)//|@|(?<=www)\.")


def render(title: str, summary: str, sections: list[Section]) -> str:
    """Returns a Markdown document: a title, a sentence, and a heading with tables for each section.

    Values from a model file are escaped: they cannot add links, images or markup.
    """
    blocks = [f"# {escaped(title)}", escaped(summary)]
    for section in sections:
        blocks += [f"## {section.title}", *_blocks(section)]
    return "\n\n".join(blocks)


def _blocks(section: Section) -> Iterator[str]:
    if section.sentence:
        yield escaped(section.sentence)
    if section.rows:
        yield _table(("", ""), section.rows, words=True)
    if section.table:
        yield _numbers(section.table)
    if section.commands:
        yield "\n".join(["```console", *(f"$ {printable(command)}" for command in section.commands), "```"])


def _numbers(table: Table) -> str:
    return _table(table.headings, table.rows, words=table.words)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool) -> str:
    rule = ["---", *(["---" if words else "---:"] * (len(headings) - 1))]
    lines: list[Sequence[str]] = [headings, rule, *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|" for line in lines)


def escaped(text: str) -> str:
    """Returns a text that Markdown renders unchanged."""
    return _MARKUP.sub(_escape, printable(text))


def _escape(found: re.Match[str]) -> str:
    sign = found[0]
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;", "//": "&#47;&#47;", "@": "&#64;", ".": "&#46;"}.get(
        sign, f"\\{sign}"
    )
