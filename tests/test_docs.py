"""What is written is true: commands in the docs parse, tables equal the code, the reference is current."""

from __future__ import annotations

import dataclasses
import re
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from mlcycle import errors
from mlcycle.artifact import contract
from mlcycle.cli import BROKEN_PIPE, globals_first, reference

CHECKOUT = Path(__file__).parent.parent
PAGES = [path for path in [CHECKOUT / "README.md", *sorted(CHECKOUT.glob("docs/*.md"))] if path.is_file()]


def test_the_reference_is_current():
    assert (CHECKOUT / "docs/cli.md").read_text("utf-8") == reference.page(), "run make docs"


def test_the_reference_does_not_depend_on_the_terminal(monkeypatch):
    before = reference.page()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    assert reference.page() == before


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_in_the_docs_parses(page):
    for words in commands_in(page.read_text("utf-8")):
        parse(words)


def test_a_wrong_command_in_the_docs_would_be_found():
    [words] = commands_in("```console\n$ mlcycle infer --no-such-option photo.jpg\nignored\n```")
    with pytest.raises(typer.BadParameter.__bases__[0]):
        parse(words)


def test_exit_codes_are_those_of_the_errors():
    table = (CHECKOUT / "docs/exit-codes.md").read_text("utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    signals = {errors.Interrupted("", signal_number=number).exit_code for number in (1, 2, 15)}
    raised = {each.exit_code for each in classes} | signals | {0, BROKEN_PIPE}
    assert documented == raised


def test_the_model_file_page_names_every_field_of_the_contract():
    page = (CHECKOUT / "docs/model-file.md").read_text("utf-8")
    documented = {name for table in tables_of_fields(page) for name in table}
    assert documented == set(dotted_fields(contract.Contract))


def commands_in(text: str) -> Iterator[list[str]]:
    """Yields the words of each `$ mlcycle …` in ```console blocks; lines that end in a backslash go on."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield from mlcycle_commands(line.removeprefix("$ "))


def mlcycle_commands(line: str) -> Iterator[list[str]]:
    """Yields each call of mlcycle in a shell line, up to a pipe, a redirection, or the next command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;<>()"):
            if words[:1] == ["mlcycle"]:
                yield words[1:]
            words = []
        else:
            words.append(word)


def parse(words: list[str]) -> None:
    """Walks to the command and lets its own parser read the options; values are not looked at, files need not exist."""
    command = typer.main.get_command(reference.app)
    rest = [word for word in globals_first(words) if word not in ("-q", "--quiet", "-v", "--verbose", "--debug")]
    while hasattr(command, "commands") and rest and rest[0] not in ("--help", "--version"):
        if rest[0] in command.commands:
            command, rest = command.commands[rest[0]], rest[1:]
        else:
            command = command.commands[command.default]
    context = typer.Context(command, info_name="mlcycle")
    command.make_parser(context).parse_args(list(rest))


def tables_of_fields(page: str) -> Iterator[list[str]]:
    """Yields the first column of each table whose heading begins with "field"; names stand in backticks."""
    for heading, rows in re.findall(r"^\|([^\n]*)\|\n\|[-| :]+\|\n((?:\|[^\n]*\n)+)", page, re.MULTILINE):
        if heading.strip().lower().startswith("field"):
            yield re.findall(r"^\| *`([\w.]+)`", rows, re.MULTILINE)


def dotted_fields(kind: type, prefix: str = "") -> Iterator[str]:
    """Yields "name", "resize.long_side", …: a field that is itself made of fields is named by those."""
    hints = typing.get_type_hints(kind)
    for each in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[each.name]):
            yield from dotted_fields(hints[each.name], f"{each.name}.")
        else:
            yield prefix + each.name
