"""`mlcycle model inspect`: the model card of a model file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import completions, console

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", autocompletion=completions.models, help="The model file.")
]


class CardFormat(StrEnum):
    text = "text"
    json = "json"
    md = "md"
    cyclonedx = "cyclonedx"


def inspect(
    file: FileArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, as --format json.")] = False,
    form: Annotated[
        CardFormat | None,
        typer.Option(
            "--format", help="Output format; md is a model card in Markdown, cyclonedx an ML-BOM. Default: text."
        ),
    ] = None,
) -> None:
    """Show the model card: purpose, use, origin and contents.

    Verifies the file first; exits 4 if it is damaged. Runs the self-test and counts the multiply-adds on the CPU. With
    -v, the text includes every setting of the recipe; json and md always do. cyclonedx is a bill of materials for
    supply-chain tools, in CycloneDX 1.6; it is made from the file's contract, without running the model.

    Example:  mlcycle model inspect models/face.onnx --format md
    """
    from mlcycle.errors import UsageError

    if as_json and form not in (None, CardFormat.json):
        raise UsageError(f"--json and --format {form.value} contradict each other", "leave out one of them")
    if form is CardFormat.cyclonedx:
        from mlcycle.inspecting import cyclonedx

        console.data(cyclonedx.as_json(cyclonedx.examine(file)))
        return
    from mlcycle.inspecting import card

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
