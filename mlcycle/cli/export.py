"""`mlcycle export`: variants of a model file."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.extras import extra
from mlcycle.errors import UsageError

if TYPE_CHECKING:
    from mlcycle.exporting.export import Exported
    from mlcycle.score import Advance


class Precision(StrEnum):
    float16 = "float16"
    int8 = "int8"


def export(
    file: Annotated[Path, typer.Argument(help="The model file that `mlcycle freeze` wrote.", show_default=False)],
    *,
    photos: Annotated[
        list[Path],
        typer.Option(help="A photograph, or a folder of them, such as the model will see.", show_default=False),
    ],
    precision: Annotated[Precision, typer.Option(help="What to compute in.")] = Precision.float16,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The file to write. Default: NAME-PRECISION-DIGEST.onnx beside FILE; for a bundled one in ./models.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of the photographs to use, spread over them.")] = 64,
    data: Annotated[
        Path | None,
        typer.Option(help="For int8: a labelled set to measure parent and variant on.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(help="Its split; without it val, or the only one.", show_default=False)] = "",
    max_drop: Annotated[
        float, typer.Option(min=0, help="Points of AP50 that the variant may lose on the labelled set.")
    ] = 0.5,
) -> None:
    """Make a variant of a model file for where it must run.

    float16 halves the size, and is faster on GPUs that have half-precision units. It must find the same faces
    on the photographs: 95 of 100 that parent or variant finds must be found by both, with an IoU of at least 0.5, and
    their scores must differ by at most 0.02 in the mean.

    int8 quarters the size, and is two to three times as fast on CPUs that multiply bytes (x86 with VNNI, ARM with dot
    product); make it on a CPU like the one that will run it. Every other photograph is used to find the range of the
    network's values. With --data, AP50 may drop by --max-drop points, over all faces and over those of each height of
    which at least 300 are labelled. Without, it must find the same faces on the other photographs, as float16
    must.

    The variant is a sealed model file with a contract of its own that names its parent. If it fails its test, it is not
    written, and the exit code is 5.

    Example:  mlcycle export models/face.onnx --precision int8 --photos photos/
    """
    if precision is Precision.float16 and data is not None:
        raise UsageError("--data is for --precision int8", "leave it out: float16 is compared on --photos")
    from mlcycle.cli.gate import files_of
    from mlcycle.score import spread

    files = spread(files_of(photos), count)
    with extra("export", "mlcycle export"):
        from mlcycle.exporting import export as conductors
    if precision is Precision.float16:
        _tell(conductors.export_float16(file, out, files))
        return
    with ExitStack() as bar, extra("evaluate", "the official evaluation of WIDER FACE"):
        from mlcycle.exporting.precision_drop import Labelled

        def started(photographs: int) -> Advance:
            bar.close()  # the parent's, before the variant's begins
            return bar.enter_context(console.progress("measuring", photographs))

        labelled = Labelled(data, split, max_drop, console.say, started) if data else None
        _tell(conductors.export_int8(file, out, files, labelled))


def _tell(exported: Exported) -> None:
    console.say(f"parent and variant agree: {exported.verdict}")
    share = exported.size / exported.parent_size
    console.say(f"exported: {exported.path} ({exported.size / 1e6:.2f} MB, {share:.0%} of its parent, read-only)")
    console.data(f"{exported.sha256}  {exported.path}")
