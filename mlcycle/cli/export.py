"""`mlcycle export`: variants of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.extras import extra
from mlcycle.cli.group import default_group

app = typer.Typer(
    cls=default_group("fp16"),
    help="Make variants of a model file for where it must run.\n\nExample:  mlcycle export model.onnx --photos photos/",
)


@app.command()
def fp16(
    file: Annotated[Path, typer.Argument(help="The model file that `mlcycle freeze` wrote.", show_default=False)],
    photos: Annotated[
        list[Path],
        typer.Option(
            help="A photograph, or a folder of them: parent and variant must agree on these.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file to write. Default: beside FILE, NAME-float16-DIGEST.onnx.", show_default=False
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many photographs to compare on.")] = 32,
) -> None:
    """Make a half-precision variant: half the size, faster on GPUs that have half-precision units.

    The variant is a sealed model file with a contract of its own that names its parent. It is written only if it agrees
    with its parent on the photographs (within 2 pixels and 0.02 in score); else the exit code is 5.

    Example:  mlcycle export fp16 models/face.onnx --photos photos/
    """
    with extra("export", "mlcycle export"):
        from mlcycle.exporting.export import export
        from mlcycle.exporting.float16 import to_float16
    from mlcycle.cli.gate import files_of

    exported = export(file, out, files_of(photos)[:count], "float16", to_float16)
    console.say(f"parent and variant agree: {exported.difference}")
    share = exported.size / exported.parent_size
    console.say(f"exported: {exported.path} ({exported.size / 1e6:.2f} MB, {share:.0%} of its parent, read-only)")
    console.data(f"{exported.sha256}  {exported.path}")
