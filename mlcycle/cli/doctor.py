"""`mlcycle doctor`: what runs where on this machine, and why not."""

from __future__ import annotations

from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.options import ModelOption, Provider

# As a terminal numbers them, for a heading and for marks.
_COLOURS = {"heading": 39, "ok": 32, "warning": 33, "problem": 31, "-": 90}


def doctor(
    model: ModelOption = None,
    provider: Annotated[Provider, typer.Option("--provider", help="What must run the model.")] = Provider.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a page.")] = False,
) -> None:
    """Show what runs the model on this machine, what does not and why, and what is installed.

    Each provider that is in this onnxruntime is tried with the model on a blank image, in a process of its own. Exits
    0 if the one that must run the model does, 4 if the model file is not whole, and else 6; warnings change no code.

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
    """Returns the columns of the terminal that stdout is, None if it is none."""
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _paint(word: str, what: str) -> str:
    return console.coloured_data(word, _COLOURS[what]) if word else word
