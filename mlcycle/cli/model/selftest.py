"""`mlcycle model selftest`: whether a model file gives its known answer here, on each provider."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console

if TYPE_CHECKING:
    from mlcycle.artifact.self_test import SelfTest


class Runner(StrEnum):
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"
    openvino = "openvino"
    coreml = "coreml"


def selftest(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model file.", show_default=False)],
    *,
    provider: Annotated[
        list[Runner] | None,
        typer.Option("--provider", help="What must run the model; may be given again. Else all that are there."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    image: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Also write the drawing, four times as large, with the faces to be found."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --image replace an existing file.")] = False,
) -> None:
    """Run the self-test of a model file: does this machine give the answer that the file knows?

    A file carries a drawing of faces and what the network found in it when it was frozen. Each provider of onnxruntime
    is asked in a process of its own; the CPU with the graph as onnxruntime rewrites it, and as it is written.

    Exits 0 if all that answered are near enough; 4 if one is too far off, the file cannot be run or carries no
    self-test; 6 if a provider that was named does not run.

    Example:  mlcycle model selftest models/face.onnx --provider cpu --image drawing.png
    """
    from mlcycle.inspecting import page
    from mlcycle.inspecting.opened import open_file
    from mlcycle.inspecting.selftest import probe_sections, probes

    opened = open_file(file)
    if image is not None and opened.self_test is not None:
        _draw(opened.self_test, image, overwrite=overwrite)
    document = probes.run(opened, [each.value for each in provider or ()])
    error = probes.error(document)
    if as_json:
        import json

        code = error.exit_code if error else 0
        console.data(json.dumps(document | {"exit_code": code}, indent=2, ensure_ascii=True))
    else:
        page.put(probe_sections.sections(document), console.out_console, console.data)
    if error is not None:
        raise error


def _draw(known: SelfTest, path: Path, *, overwrite: bool) -> None:
    from mlcycle import files
    from mlcycle.errors import InputError
    from mlcycle.inference.copies import image_copies
    from mlcycle.inspecting import known_answer

    if path.suffix.lower() != ".png":
        raise InputError(f"{path} is no name for a drawing, whose pixels must stay as they are", "name it NAME.png")
    with files.attributed(path, "choose another name, or say --overwrite"):
        image_copies.save(known_answer.drawing(known), path, overwrite=overwrite)
    console.say(f"drawn: {path}")
