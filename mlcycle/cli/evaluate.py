"""`mlcycle evaluate`: metrics of a frozen model file on labelled images."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle import files
from mlcycle.cli import completions, console
from mlcycle.cli.long_side import LongSideOption, parse_long_sides
from mlcycle.counted import counted
from mlcycle.errors import InputError, UsageError

if TYPE_CHECKING:
    from mlcycle.workflows.evaluate import Evaluation


class Format(StrEnum):
    table = "table"
    json = "json"


FileArgument = Annotated[
    Path, typer.Argument(autocompletion=completions.models, help="The frozen model file.", show_default=False)
]
DataOption = Annotated[
    Path, typer.Option(help="A labelled set: WIDER FACE, COCO, YOLO or packed shards.", show_default=False)
]
SplitOption = Annotated[str, typer.Option(help="Split of the set. Default: val, or the only one.", show_default=False)]
WorkersOption = Annotated[int, typer.Option(metavar="N", min=0, help="Worker threads; 0 uses one per core.")]
FormatOption = Annotated[Format, typer.Option("--format", help="Output format of the metrics.")]
OutOption = Annotated[
    Path | None, typer.Option("-o", "--out", help="Write the metrics to this file instead.", show_default=False)
]
DetectionsOption = Annotated[
    Path | None,
    typer.Option(
        help="Also write all detections in COCO's results format; ids are those of the set if it is a COCO set.",
        show_default=False,
    ),
]
PageOption = Annotated[
    Path | None, typer.Option(help="Also write an HTML page with curves and the worst errors.", show_default=False)
]
AttributesOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV file of face attributes, with columns file, face (row of the label, from 0) and one per"
        " attribute; reports recall by each.",
        show_default=False,
    ),
]
LimitOption = Annotated[
    int, typer.Option(metavar="N", min=0, help="Largest number of images, spread over the set; 0 uses all.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")]


def evaluate(  # noqa: PLR0913 (an option of a command is a parameter)
    file: FileArgument,
    *,
    data: DataOption,
    split: SplitOption = "",
    long_side: LongSideOption = "",
    workers: WorkersOption = 0,
    format_: FormatOption = Format.table,
    out: OutOption = None,
    detections: DetectionsOption = None,
    page: PageOption = None,
    attributes: AttributesOption = None,
    limit: LimitOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure a frozen model file on labelled images.

    Reports COCO's average precision, also by face height and by group, recall and false alarms at the thresholds, and
    the landmark error, with bootstrap intervals over the images. For the val split of WIDER FACE with the official
    files in its folder ground_truth, it also reports the official easy, medium and hard scores.
    With --attributes, it also reports the recall of faces of 32 pixels and more by each attribute, such as perceived
    skin, at the threshold "balanced", and the largest difference between two groups.

    The faces of an unreadable image count as missed. The command lists such images and exits 3.

    Example:  mlcycle evaluate models/face.onnx --data WIDER_FACE
    """
    chosen = parse_long_sides(long_side)
    for path in (out, detections, page):
        check_free(path, overwrite)
    _check_different(out, detections, page)

    from mlcycle.artifact.bundled import locate
    from mlcycle.inference.outputs.output import must_not_be_input

    for path in (out, detections, page):
        must_not_be_input(path, filter(None, (locate(file), data, attributes)))

    from mlcycle.library.evaluate import evaluate as measure
    from mlcycle.reporting import document, table

    outcome = measure(
        file,
        data,
        split=split,
        long_side=[each or "original" for each in chosen] if chosen else None,
        limit=limit,
        workers=workers,
        attributes=attributes,
        progress=console.Terminal(),
    )
    as_text = document.as_json if format_ is Format.json else table.as_table
    if out is not None:
        files.write(out, f"{as_text(outcome.metrics)}\n", overwrite=overwrite)
        console.say(f"metrics written to {out}")
    else:
        console.data(as_text(outcome.metrics))
    _write_extras(outcome, detections, page, overwrite=overwrite)
    _report_unreadable(outcome.metrics.subject.unreadable)


def _write_extras(outcome: Evaluation, detections: Path | None, page: Path | None, *, overwrite: bool) -> None:
    """Writes the requested detections and page."""
    if detections is not None:
        from mlcycle.reporting import document

        files.write(detections, f"{document.coco_results(outcome.detections())}\n", overwrite=overwrite)
        console.say(f"detections written to {detections}")
    if page is not None:
        from mlcycle.workflows import evaluation_page

        files.write(page, f"{evaluation_page.render(outcome)}\n", overwrite=overwrite)
        console.say(f"page written to {page}")


def _report_unreadable(unreadable: list[tuple[str, str, str]]) -> None:
    for name, _, sentence in unreadable:
        console.warn(f"{name}: {sentence}")
    if unreadable:
        console.warn(f"{counted(len(unreadable), 'image')} could not be read; their faces count as missed")
        raise typer.Exit(InputError.exit_code)


def check_free(path: Path | None, overwrite: bool) -> None:
    """Raises an error before the work starts if a result could not be written.

    Raises:
        InputError: the file exists, or its folder does not exist or is not writable.
    """
    if path is None:
        return
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists", "choose another name, or pass --overwrite")
    if not path.absolute().parent.is_dir():
        raise InputError(f"no such folder: {path.absolute().parent}", "create it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"{path} cannot be written: its folder is not writable", "choose another folder")


def _check_different(*paths: Path | None) -> None:
    named = [path.absolute() for path in paths if path is not None]
    if len(set(named)) < len(named):
        raise UsageError("two outputs have the same name", "give --out, --detections and --page different names")
