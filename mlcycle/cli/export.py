"""`mlcycle export`: variants of a model file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from mlcycle.cli import console
from mlcycle.errors import UsageError
from mlcycle.results import Exported

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The model file that `mlcycle freeze` wrote.", show_default=False)
]
PrecisionOption = Annotated[
    Literal["float16", "bfloat16", "int8"] | None, typer.Option(help="What to compute in.", show_default=False)
]
InputSizeOption = Annotated[
    str, typer.Option(metavar="WxH", help="The one size of input to take, in pixels: 640x480.", show_default=False)
]
OpsetOption = Annotated[
    int | None, typer.Option(help="Version of ONNX's operators, newer than the file's.", show_default=False)
]
FormatOption = Annotated[
    Literal["onnx", "openvino", "web", "triton", "kserve", "tensorrt"],
    typer.Option("--format", help="What to write; each is described in docs/export.md."),
]
RuntimeOption = Annotated[
    Path | None, typer.Option(help="For web: where the npm package onnxruntime-web lies.", show_default=False)
]
StorageOption = Annotated[
    str,
    typer.Option(metavar="URI", help="For kserve: where the folder will lie: s3://models/face.", show_default=False),
]
ImagesOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="An image, or a folder of them, such as the model will see; may be given again.", show_default=False
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="The file or folder to write. Default: NAME-CHANGE-DIGEST beside FILE; for a bundled one in ./models.",
        show_default=False,
    ),
]
CountOption = Annotated[int, typer.Option(min=1, help="How many of the images to use, spread over them.")]
DataOption = Annotated[
    Path | None, typer.Option(help="A labelled set to measure parent and variant on.", show_default=False)
]
SplitOption = Annotated[str, typer.Option(help="Its split; without it val, or the only one.", show_default=False)]
MaxDropOption = Annotated[
    float, typer.Option(min=0, help="Points of AP50 that the variant may lose on the labelled set.")
]


def export(  # noqa: PLR0913 (an option of a command is a parameter)
    file: FileArgument,
    *,
    precision: PrecisionOption = None,
    input_size: InputSizeOption = "",
    opset: OpsetOption = None,
    form: FormatOption = "onnx",
    onnxruntime_web: RuntimeOption = None,
    storage_uri: StorageOption = "",
    images: ImagesOption = None,
    out: OutOption = None,
    count: CountOption = 64,
    data: DataOption = None,
    split: SplitOption = "",
    max_drop: MaxDropOption = 0.5,
) -> None:
    """Make a variant of a model file for where it must run.

    --precision int8 quarters the size, and is two to three times as fast on CPUs that multiply bytes (x86 with VNNI,
    ARM with dot product); make it on a CPU like the one that will run it. Every other image is used to find the
    range of the network's values. float16 halves the size, and is faster on GPUs that have half-precision units;
    bfloat16 is for accelerators that know it.

    --input-size fixes the size of the input, for accelerators that compile a graph for one; --opset gives newer
    operators. Each can be combined with the others. What comes of it is a sealed model file with a contract of its own
    that names its parent.

    --format writes a model file, a variant as well, for another runtime or a server: openvino, web (a page that
    finds faces in the browser), triton and kserve (a model repository), tensorrt (an engine for this machine's GPU).

    Before anything is written, what was made must answer the parent's self-test, and with --data lose no more than
    --max-drop points of AP50, over all faces and over those of each height of which at least 300 are labelled;
    without, it must find the same faces on the images: 95 of 100 that parent or variant finds must be found by
    both, with an IoU of at least 0.5, and their scores must differ by at most 0.02 in the mean. If it fails,
    nothing is written, and the exit code is 5. Latency of both is shown side by side. What holds the model file as
    it is, as web, triton and kserve do, needs neither.

    Example:  mlcycle export models/face.onnx --precision int8 --images images/
    """
    size = _size(input_size)
    from mlcycle.library.export import export as make

    exported = make(
        file, out, precision=precision, input_size=size, opset=opset, format=form, images=images or [], count=count,
        data=data, split=split, max_drop=max_drop, onnxruntime_web=onnxruntime_web, storage_uri=storage_uri,
        progress=console.Terminal(),
    )  # fmt: skip
    if form == "onnx":
        _tell(exported)
    else:
        _tell_of_package(exported)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    if found is None:
        raise UsageError(f"{text!r} is no size of an input", "write width and height in pixels: --input-size 640x480")
    return int(found[1]), int(found[2] or found[1])


def _tell_of_package(exported: Exported) -> None:
    from mlcycle.exporting.gates.side_by_side import table_of_latencies

    console.say(exported.verdict)
    if exported.latencies:
        for line in table_of_latencies(exported.latencies).splitlines():
            console.say(line)
    console.say(f"exported: {exported.path}")
    console.data(str(exported.path))


def _tell(exported: Exported) -> None:
    from mlcycle.exporting.gates.side_by_side import table

    console.say(f"parent and variant agree: {exported.verdict}")
    if exported.self_test:
        distance, tolerance = exported.self_test
        console.say(
            f"self-test: {distance} apart; {tolerance.pixels:g} px and {tolerance.score:g} are allowed from now on"
        )
    for line in table(exported.latencies, exported.parent_size, exported.size).splitlines():
        console.say(line)
    console.say(f"exported: {exported.path} ({exported.size / 1e6:.2f} MB, read-only)")
    console.data(f"{exported.sha256}  {exported.path}")
