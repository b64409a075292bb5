"""`mlcycle model diff`: the differences between two model files."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console


def diff(
    one: Annotated[Path, typer.Argument(metavar="A", help="A model file.", show_default=False)],
    other: Annotated[Path, typer.Argument(metavar="B", help="Another one.", show_default=False)],
    *,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Image or folder on which to run both; can be repeated.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a report.")] = False,
) -> None:
    """Show the differences between two model files.

    Compares contract, operators and weights and, with --images, detections. Weights are matched by name; the difference
    of two tensors is given relative to the largest and to the mean absolute value. Detections count from the threshold
    "balanced" of each file; two boxes match if their IoU is at least 0.5.

    Exits 0 whether or not the files differ, and 4 if one of them cannot be read.

    Example:  mlcycle model diff models/face.onnx models/face-int8.onnx --images images/
    """
    from mlcycle.inspecting import page
    from mlcycle.inspecting.diff import difference, difference_sections
    from mlcycle.inspecting.opened import open_file

    files = _files(images or [])
    a, b = open_file(one), open_file(other)
    with console.progress("comparing", len(files)) if files else nullcontext(lambda: None) as advance:
        document = difference.compare(a, b, files, advance)
    if as_json:
        import json

        console.data(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))
    else:
        page.put(difference_sections.sections(document), console.out_console, console.data)


def _files(named: list[Path]) -> list[Path]:
    from mlcycle.errors import InputError
    from mlcycle.inference.sources import named_files

    if named and not (files := named_files(named)):
        raise InputError("--images contains no image", "pass a folder with images")
    return files if named else []
