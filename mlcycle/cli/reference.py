"""Writes docs/cli.md from the tree of commands: `python -m mlcycle.cli.reference [--check]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from mlcycle.cli.app import app
from mlcycle.cli.group import first_paragraph

PAGE = Path("docs/cli.md")
HEAD = """\
# The commands

Written by `make docs` from the commands themselves. What each exit code means: [exit-codes.md](exit-codes.md).
"""


def commands() -> Iterator[tuple[list[str], Any]]:
    """Yields every command, groups before their members, as its words and the command object of Typer's."""
    yield from _walk(["mlcycle"], typer.main.get_command(app))


def page() -> str:
    """Returns the whole of docs/cli.md; it depends on nothing but the commands."""
    return "\n".join([HEAD, *(_section(words, command) for words, command in commands())])


def main() -> int:
    """Writes the page, or with --check returns 1 if it is not current."""
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, "utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text("utf-8") == text:
        return 0
    sys.stderr.write(f"{PAGE} is not current: run make docs\n")
    return 1


def _walk(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
    yield words, command
    for name, member in _members(command):
        yield from _walk([*words, name], member)


def _members(command: Any) -> list[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        return []
    context = typer.Context(command)
    return [(name, command.get_command(context, name)) for name in command.list_commands(context)]


def _section(words: list[str], command: Any) -> str:
    parts = [f"{'#' * (len(words) + 1)} {' '.join(words)}", *_prose(command.help or "")]
    default = getattr(command, "default", "")
    if default:
        path = " ".join(words)
        parts.append(f"The default command is `{default}`: `{path} ARGS` means `{path} {default} ARGS`.")
    members = _members(command)
    rows = [_row(each) for each in command.params if not getattr(each, "hidden", False)]
    parts += [_table("Command", [(f"`{name}`", first_paragraph(each.help)) for name, each in members])]
    parts += [_table("Argument or option", rows)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _prose(help_text: str) -> Iterator[str]:
    for paragraph in help_text.split("\n\n"):
        line = " ".join(paragraph.split())
        if line.startswith("Example:"):
            yield f"```console\n$ {line.removeprefix('Example:').strip()}\n```"
        elif line:
            yield line


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])


def _row(parameter: Any) -> tuple[str, str]:
    metavar = parameter.metavar or ""
    if parameter.param_type_name == "argument":
        name = f"`{metavar or parameter.name.upper()}{'...' if parameter.nargs != 1 else ''}`"
        text = parameter.help or ""
        return name, text if parameter.required else f"{text} Optional."
    flag = getattr(parameter, "is_flag", False) or getattr(parameter, "count", False)
    value = "" if flag else f" {_choices(parameter) or metavar or parameter.name.upper()}"
    names = ", ".join(f"`{each}{value}`" for each in [*parameter.opts, *parameter.secondary_opts])
    return names, _escape(parameter.help or "") + _default(parameter, flag)


def _choices(parameter: Any) -> str:
    # Typer keeps the choices in one of two places, by its version.
    kind = getattr(parameter, "type_descriptor", None) or parameter.type
    return "\\|".join(str(_value(each)) for each in getattr(kind, "choices", None) or ())


def _default(parameter: Any, flag: bool) -> str:
    default = _value(parameter.default)
    if flag or default in (None, "", (), []) or callable(default):
        return ""
    return f" Default: `{default}`."


def _value(each: Any) -> Any:
    return each.value if isinstance(each, Enum) else each


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
