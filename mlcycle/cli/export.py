"""`mlcycle export`: variants of a model file, and other formats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from mlcycle.cli import completions, console
from mlcycle.errors import UsageError
from mlcycle.results import Exported

FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        autocompletion=completions.models,
        help="The model file that `mlcycle freeze` wrote.",
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    Literal["float16", "bfloat16", "int8"] | None, typer.Option(help="Precision of the variant.", show_default=False)
]
InputSizeOption = Annotated[
    str, typer.Option(metavar="WxH", help="Fixed input size in pixels, such as 640x480.", show_default=False)
]
OpsetOption = Annotated[int | None, typer.Option(help="ONNX opset version, newer than the file's.", show_default=False)]
SelectionOption = Annotated[
    Literal["graph", "none"],
    typer.Option(help="Where faces are selected; none leaves it to the caller, for runtimes that cannot."),
]
FormatOption = Annotated[
    Literal["onnx", "openvino", "web", "triton", "kserve", "tensorrt"],
    typer.Option("--format", help="Output format; see docs/export.md."),
]
RuntimeOption = Annotated[
    Path | None, typer.Option(help="For web: the folder of the npm package onnxruntime-web.", show_default=False)
]
StorageOption = Annotated[
    str,
    typer.Option(
        metavar="URI",
        help="For kserve: URI from which the folder is served, such as s3://models/face.",
        show_default=False,
    ),
]
ImagesOption = Annotated[
    list[Path] | None,
    typer.Option(help="Image or folder for calibration and comparison; can be repeated.", show_default=False),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Output file or folder. Default: NAME-CHANGE-DIGEST next to FILE, or in ./models for a bundled model.",
        show_default=False,
    ),
]
CountOption = Annotated[
    int, typer.Option(metavar="N", min=1, help="Number of images to use, spread over all given ones.")
]
DataOption = Annotated[
    Path | None, typer.Option(help="Labelled set on which to measure parent and variant.", show_default=False)
]
SplitOption = Annotated[str, typer.Option(help="Split of the set. Default: val, or the only one.", show_default=False)]
MaxDropOption = Annotated[
    float, typer.Option(metavar="N", min=0, help="Largest loss of AP50 on the labelled set, in points.")
]


def export(  # noqa: PLR0913 (an option of a command is a parameter)
    file: FileArgument,
    *,
    precision: PrecisionOption = None,
    input_size: InputSizeOption = "",
    opset: OpsetOption = None,
    selection: SelectionOption = "graph",
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
    """Convert a model file for another device, runtime or server.

    --precision int8 reduces the size to a quarter and is two to three times as fast on CPUs with int8 dot-product
    instructions (x86 with VNNI, ARM with dot product). Run the export on a CPU of the same kind. Every second image
    calibrates the activation ranges. float16 halves the size and is faster on GPUs with half-precision units; bfloat16
    is for accelerators that support it.

    --input-size fixes the input size, for accelerators that compile a graph for one size. --opset selects newer
    operators. These options can be combined. The variant is a sealed model file whose contract names its parent.

    --selection none writes a folder with a graph of fixed size that returns the boxes, scores and points of all cells,
    and the selection as source in Python, C++ and JavaScript: for OpenCV, phones and other runtimes. It needs
    --input-size.

    --format writes a model file or variant for another runtime or server: openvino, web (a page that runs the model in
    the browser), triton and kserve (a model repository), tensorrt (an engine for the GPU of this machine).

    A variant must pass the parent's self-test before it is written. With --data, it must lose at most --max-drop
    points of AP50, over all faces and over each face height with at least 300 labelled faces. Without --data, it must
    find the same faces on the images: each must find at least 95 % of the faces that the other finds, with an IoU of
    at least 0.5 and a mean score difference of at most 0.02. Otherwise nothing is written and the exit code is 5. The
    latency of both is printed side by side. web, triton and kserve contain the model file unchanged and need no
    images.

    Example:  mlcycle export models/face.onnx --precision int8 --images images/
    """
    size = _size(input_size)
    from mlcycle.library.export import export as make

    exported = make(
        file, out, precision=precision, input_size=size, opset=opset, selection=selection, format=form,
        images=images or [], count=count, data=data, split=split, max_drop=max_drop,
        onnxruntime_web=onnxruntime_web, storage_uri=storage_uri, progress=console.Terminal(),
    )  # fmt: skip
    if form == "onnx" and selection == "graph":
        _report_variant(exported)
    else:
        _report_package(exported)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    if found is None:
        raise UsageError(f"{text!r} is not an input size", "pass width and height in pixels: --input-size 640x480")
    return int(found[1]), int(found[2] or found[1])


def _report_package(exported: Exported) -> None:
    from mlcycle.exporting.gates.side_by_side import table_of_latencies

    console.say(exported.verdict)
    if exported.latencies:
        for line in table_of_latencies(exported.latencies).splitlines():
            console.say(line)
    console.say(f"exported: {exported.path}")
    console.data(str(exported.path))


def _report_variant(exported: Exported) -> None:
    from mlcycle.exporting.gates.side_by_side import table

    if exported.warning:
        console.warn(exported.warning)
    console.say(f"parent and variant agree: {exported.verdict}")
    if exported.self_test:
        distance, tolerance = exported.self_test
        console.say(
            f"self-test: differs by {distance}; its tolerance is {tolerance.pixels:g} px and {tolerance.score:g}"
        )
    for line in table(exported.latencies, exported.parent_size, exported.size).splitlines():
        console.say(line)
    console.say(f"exported: {exported.path} ({exported.size / 1e6:.2f} MB, read-only)")
    console.data(f"{exported.sha256}  {exported.path}")
