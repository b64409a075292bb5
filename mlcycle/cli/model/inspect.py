"""`mlcycle model inspect`: what a model file says of itself."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The model file.")]


class CardFormat(StrEnum):
    text = "text"
    json = "json"
    md = "md"


def inspect(
    file: FileArgument,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; the same as --format json.")
    ] = False,
    form: Annotated[
        CardFormat | None,
        typer.Option("--format", help="How to print it; md is a model card to lie beside the file. Default: text."),
    ] = None,
) -> None:
    """Show what a model file is: what for, how to use it, where it comes from, what it is made of.

    The file is verified first; a damaged one exits 4. Its self-test is run, and its multiply-adds are counted, on the
    CPU. With -v, text has every setting of the recipe, as json and md always have.

    Example:  mlcycle model inspect models/face.onnx --format md
    """
    from mlcycle.errors import UsageError
    from mlcycle.inspecting import card

    if as_json and form not in (None, CardFormat.json):
        raise UsageError(f"--json and --format {form.value} ask for two things", "leave out one of them")
    document = card.examine(file)
    if as_json or form is CardFormat.json:
        console.data(card.as_json(document))
        return
    from mlcycle.inspecting import card_sections, markdown, page

    if form is CardFormat.md:
        sections = card_sections.sections(document, file=Path(document["file"]).name, whole=True)
        console.data(markdown.render(str(document["contract"]["name"]), card_sections.summary(document), sections))
    else:
        sections = card_sections.sections(document, file=str(file), whole=console.is_verbose())
        page.put(sections, console.out_console, console.data)
