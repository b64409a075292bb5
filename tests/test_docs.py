"""The docs are correct: commands parse, tables equal the code, and the reference is up to date."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import shlex
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from mlcycle import errors
from mlcycle.artifact import admission, contract, self_test
from mlcycle.cli import BROKEN_PIPE, globals_first, reference

CHECKOUT = Path(__file__).parent.parent
PAGES = [
    path
    for path in [CHECKOUT / "README.md", CHECKOUT / "data/README.md", *sorted(CHECKOUT.glob("docs/*.md"))]
    if path.is_file()
]


def test_the_reference_is_up_to_date():
    assert (CHECKOUT / "docs/cli.md").read_text("utf-8") == reference.page(), "run make docs"


def test_the_reference_does_not_depend_on_the_terminal(monkeypatch):
    before = reference.page()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    assert reference.page() == before


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_command_in_the_docs_parses(page):
    text = page.read_text("utf-8")
    found = list(commands_in(text))
    assert len(found) >= len(re.findall(r"^\s*\$ mlcycle", text, re.MULTILINE))
    for words in found:
        parse(words)


def test_a_wrong_command_in_the_docs_would_be_found():
    [words] = commands_in("```console\n$ mlcycle infer --no-such-option photo.jpg\nignored\n```")
    with pytest.raises(typer.BadParameter.__bases__[0]):
        parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_code_block_is_in_a_language_that_is_checked(page):
    """Commands are parsed above; the lines of the guides and the programs of pages are run by tests of their own."""
    for language, code in re.findall(r"^ *```(\S*)\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if language == "python":
            ast.parse(code)
        elif language == "yaml":
            yaml.safe_load(code)
        elif language == "sh":
            checked = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
            assert not checked.stderr, code
        elif language == "console":
            assert all(line.startswith("$ ") for line in code.replace("\\\n", "").splitlines()), code
        else:
            assert language in {"", "nginx", "{eval-rst}", "{toctree}"}


def test_every_command_in_the_docs_is_in_a_console_block():
    """Otherwise nothing would parse it."""
    for page in PAGES:
        assert not re.findall(r"^    (?:\$ )?mlcycle .*$", page.read_text("utf-8"), re.MULTILINE), page


def test_the_exit_codes_equal_those_of_the_errors():
    table = (CHECKOUT / "docs/exit-codes.md").read_text("utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    signals = {errors.Interrupted("", signal_number=number).exit_code for number in (1, 2, 15)}
    raised = {each.exit_code for each in classes} | signals | {0, BROKEN_PIPE}
    assert documented == raised


def test_the_model_file_page_lists_every_field_of_the_contract():
    page = (CHECKOUT / "docs/model-file.md").read_text("utf-8")
    documented = {name for table in tables_of_fields(page) for name in table}
    assert documented == set(dotted_fields(contract.Contract))


def test_the_model_file_page_lists_every_allowed_operator():
    page = (CHECKOUT / "docs/model-file.md").read_text("utf-8")
    rule = page[page.index("1. The file MUST") : page.index("A reader MUST refuse anything else")]
    listed = re.findall(r"\w+", rule.partition("tensors from tensors:")[2])
    assert listed == sorted(admission.OPERATORS)


def test_the_model_file_page_describes_the_test_image():
    """An implementation from the page gives exactly the pixels of the code."""
    page = (CHECKOUT / "docs/model-file.md").read_text("utf-8")
    constants = [int(each.group()) for each in re.finditer(r"\b\d{9,10}\b", page[page.index("hash(x, y, seed)") :])]
    assert constants == [374761393, 668265263, 2246822519, 1274126177]

    def hashed(x: int, y: int, seed: int) -> int:
        first, second, third, fourth = constants
        n = (x * first + y * second + seed * third) % 2**32
        n = (n ^ n >> 13) * fourth % 2**32
        return n ^ n >> 16

    seed, width, height = 5, 150, 100
    pixels = [[[0, 0, 0] for _ in range(width)] for _ in range(height)]
    for y in range(height):
        for x in range(width):
            grain = hashed(x, y, seed + 1) >> 8 & 31
            pixels[y][x] = [40 + (hashed(x // 16, y // 16, seed) >> 8 * c & 127) + grain for c in range(3)]

    def ellipse(x: int, y: int, r: int, place: tuple[int, int], axes: tuple[int, int], colour: list[int], shade=None):
        (a, b), (c, d) = place, axes
        for v in range(-(5 * r // 4), 5 * r // 4 + 1):
            for u in range(-(5 * r // 4), 5 * r // 4 + 1):
                inside = (16 * u - a * r) ** 2 * d**2 + (16 * v - b * r) ** 2 * c**2 <= (c * d * r) ** 2
                if inside and 0 <= y + v < height and 0 <= x + u < width:
                    pixels[y + v][x + u] = [each - (shade(u, v) if shade else 0) for each in colour]

    def face(x: int, y: int, r: int, t: int) -> None:
        ellipse(x, y, r, (0, -3), (14, 16), [60, 45, 35])
        ellipse(
            x, y, r, (0, 2), (12, 14), [225, 180, 150],
            lambda u, v: t + (16 * u * u + 9 * v * v) * 40 // (9 * r * r) + 16 * u // r,
        )  # fmt: skip
        for side in (-5, 5):
            ellipse(x, y, r, (side, -4), (3, 1), [70, 50, 40])
            ellipse(x, y, r, (side, -1), (2, 2), [30, 25, 25])
        ellipse(x, y, r, (0, 4), (2, 1), [each - t // 2 for each in (150, 100, 90)])
        ellipse(x, y, r, (0, 9), (5, 1), [150, 60, 60])

    for row in range(height // 48):
        for column in range(width // 48):
            k = hashed(column, row, seed + 2)
            if row > 1 or column > 1:
                face(48 * column + 20 + (k >> 4 & 7), 48 * row + 20 + (k >> 7 & 7), 10 + (k & 15) // 2, k >> 10 & 63)
    face(48, 48, 36, hashed(0, 0, seed + 2) >> 10 & 63)
    drawn = [[[min(255, max(0, each)) for each in pixel] for pixel in line] for line in pixels]
    assert self_test.image(height, width, seed).tolist() == drawn


def commands_in(text: str) -> Iterator[list[str]]:
    """Yields the words of each `$ mlcycle …` in ```console blocks; a backslash at the end continues a line."""
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


@functools.cache
def whole_command() -> typer.core.TyperGroup:
    return typer.main.get_command(reference.app)


def parse(words: list[str]) -> None:
    """Finds the command and parses its options; values are not checked, and files need not exist."""
    command = whole_command()
    rest = [word for word in globals_first(words) if word not in ("-q", "--quiet", "-v", "--verbose", "--debug")]
    while hasattr(command, "commands") and rest and rest[0] not in ("--help", "--version"):
        context = typer.Context(command)
        if (named := command.get_command(context, rest[0])) is not None:
            command, rest = named, rest[1:]
        else:
            command = command.get_command(context, command.default)
    context = typer.Context(command, info_name="mlcycle")
    command.make_parser(context).parse_args(list(rest))


def tables_of_fields(page: str) -> Iterator[list[str]]:
    """Yields the first column of each table whose heading begins with "field"; names are in backticks."""
    for heading, rows in re.findall(r"^\|([^\n]*)\|\n\|[-| :]+\|\n((?:\|[^\n]*\n)+)", page, re.MULTILINE):
        if heading.strip().lower().startswith("field"):
            yield re.findall(r"^\| *`([\w.]+)`", rows, re.MULTILINE)


def dotted_fields(kind: type, prefix: str = "") -> Iterator[str]:
    """Yields "name", "resize.long_side", …: a field that has fields itself is replaced by them."""
    hints = typing.get_type_hints(kind)
    for each in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[each.name]):
            yield from dotted_fields(hints[each.name], f"{each.name}.")
        else:
            yield prefix + each.name
