"""Prints sections to a terminal, or as plain lines to pipes and narrow terminals."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mlcycle.inference.record import printable
from mlcycle.inspecting.section import Section, Table

if TYPE_CHECKING:
    from rich.console import Console

# In narrower terminals the second column of a table does not fit.
LEAST_WIDTH = 60


def put(sections: list[Section], console: Callable[[], Console], data: Callable[[str], None]) -> None:
    """Prints sections to stdout: wrapped and coloured on a terminal that is wide enough, else as plain lines.

    Args:
        console: returns a rich console on stdout.
        data: writes a text to stdout.
    """
    if sys.stdout.isatty() and shutil.get_terminal_size().columns >= LEAST_WIDTH:
        show(sections, console())
    else:
        data(plain(sections))


def plain(sections: list[Section]) -> str:
    """Returns the sections as lines that are never wrapped, so that a program can search them."""
    blocks = ["\n".join(_lines(section)) for section in sections]
    return "\n\n".join(blocks)


def _lines(section: Section) -> Iterator[str]:
    yield section.title
    if section.sentence:
        yield f"  {printable(section.sentence)}"
    names = max((len(printable(name)) for name, _ in section.rows), default=0)
    yield from (f"  {printable(name):<{names}}  {printable(text)}".rstrip() for name, text in section.rows)
    if section.table:
        yield from _columns(section.table)
    yield from (f"  $ {printable(command)}" for command in section.commands)


def _columns(table: Table) -> Iterator[str]:
    lines = [table.headings, *(tuple(map(printable, row)) for row in table.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.headings))]
    for line in lines:
        cells = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)]
        if not table.words:
            cells[1:] = [f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)]
        yield f"  {'  '.join(cells)}".rstrip()


def show(sections: list[Section], console: Console) -> None:
    """Prints the sections to a terminal: headings, and two columns, the second one wrapped.

    Values are not interpreted as rich markup, and control characters are escaped.
    """
    from rich.table import Table as Grid
    from rich.text import Text

    for section in sections:
        console.print(Text(section.title, style="bold cyan"))
        if section.sentence:
            console.print(Text(f"  {printable(section.sentence)}"))
        grid = Grid.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, text in section.rows:
            grid.add_row(Text(f"  {printable(name)}"), Text(printable(text)))
        if section.rows:
            console.print(grid)
        if section.table and (section.rows or section.sentence):
            console.print()
        if section.table:
            console.print(_ruled(section.table))
        for command in section.commands:
            console.print(Text(f"  $ {printable(command)}", style="green"), soft_wrap=True)
        console.print()


def _ruled(table: Table) -> object:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Ruled
    from rich.text import Text

    ruled = Ruled(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for place, heading in enumerate(table.headings):
        is_number = place > 0 and not table.words
        ruled.add_column(
            Text(f"  {heading}" if not place else heading), justify="right" if is_number else "left", overflow="fold"
        )
    for row in table.rows:
        ruled.add_row(
            *(Text(f"  {printable(cell)}" if not place else printable(cell)) for place, cell in enumerate(row))
        )
    return ruled
