"""`mlcycle doctor`: which providers run the model on this machine, and why others do not."""

from __future__ import annotations

from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.options import ModelOption, Provider

# Terminal colour codes for headings and marks.
_COLOURS = {"heading": 39, "ok": 32, "warning": 33, "problem": 31, "-": 90}


def doctor(
    model: ModelOption = None,
    provider: Annotated[
        Provider, typer.Option("--provider", help="The provider that must run the model.")
    ] = Provider.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a page.")] = False,
) -> None:
    """Show which providers run the model, and what is installed.

    Runs the model on a blank image with each provider of the installed onnxruntime, each in its own process. Exits 0 if
    the required provider runs the model, 4 if the model file is invalid, and 6 otherwise. Warnings do not change the
    exit code.

    Example:  mlcycle doctor --provider cuda --json
    """
    from mlcycle.doctor import verdict
    from mlcycle.doctor.examine import examine

    found = examine(model, provider.value)
    sections, error = verdict.sections(found), verdict.error(found)
    if as_json:
        from mlcycle.doctor.document import as_json as text_of

        console.data(text_of(found, sections, error.exit_code if error else 0))
    else:
        from mlcycle.doctor.page import render

        console.data(render(sections, _width(), _paint))
    if error is not None:
        raise error


def _width() -> int | None:
    """Returns the width of the terminal in columns, None if stdout is not a terminal."""
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _paint(word: str, kind: str) -> str:
    return console.coloured_data(word, _COLOURS[kind]) if word else word
