"""`mlcycle model selftest`: runs the self-test of a model file on each provider."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import completions, console

if TYPE_CHECKING:
    from mlcycle.artifact.self_test import SelfTest


class Runner(StrEnum):
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"
    openvino = "openvino"
    coreml = "coreml"


def selftest(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", autocompletion=completions.models, help="The model file.", show_default=False),
    ],
    *,
    provider: Annotated[
        list[Runner] | None,
        typer.Option(
            "--provider", help="Provider that must run the model; can be repeated. By default all available ones."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    image: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Also write the test image, four times as large, with the expected faces."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --image replace an existing file.")] = False,
) -> None:
    """Run the self-test on each provider of this machine.

    The self-test is a test image with the detections expected for it, and then a black image, for which a provider must
    not crash or return those detections again. Each provider of onnxruntime runs in its own process; the CPU runs the
    graph with and without onnxruntime's optimisations.

    Exits 0 if all outputs are within the tolerance; 4 if one is not, or if the file cannot be run or has no self-test;
    6 if a requested provider does not run.

    Example:  mlcycle model selftest models/face.onnx --provider cpu --image test-image.png
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


def _draw(self_test: SelfTest, path: Path, *, overwrite: bool) -> None:
    from mlcycle import files
    from mlcycle.errors import InputError
    from mlcycle.inference.copies import image_copies
    from mlcycle.inspecting import self_test_image

    if path.suffix.lower() != ".png":
        raise InputError(f"{path} is not a PNG file name", "choose a name that ends in .png")
    with files.attributed(path, "choose another name, or pass --overwrite"):
        image_copies.save(self_test_image.with_expected_faces(self_test), path, overwrite=overwrite)
    console.say(f"written: {path}")
