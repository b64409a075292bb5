"""`mlcycle evaluate`: a frozen model file measured on labelled images."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle import files
from mlcycle.cli import console
from mlcycle.errors import InputError, UsageError

if TYPE_CHECKING:
    from mlcycle.workflows.evaluate import Evaluation


class Format(StrEnum):
    table = "table"
    json = "json"


def evaluate(  # noqa: PLR0913 (an option of a command is a parameter)
    file: Annotated[Path, typer.Argument(help="The frozen model file.", show_default=False)],
    *,
    data: Annotated[
        Path, typer.Option(help="The labelled set: WIDER FACE, COCO, YOLO or packed shards.", show_default=False)
    ],
    split: Annotated[str, typer.Option(help="Its split; without it val, or the only one.", show_default=False)] = "",
    long_side: Annotated[
        str, typer.Option(metavar="N|original", help="Pixels; without it the model's own.", show_default=False)
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0: one for each core.")] = 0,
    format_: Annotated[Format, typer.Option("--format", help="How to print the figures.")] = Format.table,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write them to this file instead.", show_default=False)
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(
            help="Also write all detections, as COCO results, with the ids of the set if it is in COCO's layout.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Also write a page of HTML with curves and the worst mistakes.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Only so many images, spread over the set; 0: all.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace output files that exist.")] = False,
) -> None:
    """Measure a frozen model file on labelled images.

    Gives COCO's average precision, also by the height of faces and by group, recall and false alarms at thresholds, and
    the error of landmarks, with intervals over samples of the images; and, for WIDER FACE's val with the official
    files in its folder ground_truth, the official easy, medium and hard.

    An image that cannot be read is named, its faces count as missed, and the exit code is 3.

    Example:  mlcycle evaluate models/face.onnx --data WIDER_FACE
    """
    chosen = pixels(long_side)
    for path in (output, detections, page):
        check_free(path, overwrite)
    _check_apart(output, detections, page)

    from mlcycle.library.evaluate import evaluate as measure
    from mlcycle.reporting import document, table

    outcome = measure(
        file, data, split=split, long_side=chosen, limit=limit, workers=workers, progress=console.Terminal()
    )
    as_text = document.as_json if format_ is Format.json else table.as_table
    if output is not None:
        files.write(output, f"{as_text(outcome.metrics)}\n")
        console.say(f"the figures are in {output}")
    else:
        console.data(as_text(outcome.metrics))
    _write_beside(outcome, detections, page)
    _name_unreadable(outcome.metrics.subject.unreadable)


def _write_beside(outcome: Evaluation, detections: Path | None, page: Path | None) -> None:
    """Writes what was asked for beside the figures."""
    if detections is not None:
        from mlcycle.reporting import document

        files.write(detections, f"{document.coco_results(outcome.detections())}\n")
        console.say(f"all detections are in {detections}")
    if page is not None:
        from mlcycle.workflows import evaluation_page

        files.write(page, f"{evaluation_page.render(outcome)}\n")
        console.say(f"the page is {page}")


def _name_unreadable(unreadable: list[tuple[str, str, str]]) -> None:
    for name, _, sentence in unreadable:
        console.warn(f"{name}: {sentence}")
    if unreadable:
        console.warn(f"{len(unreadable):,} images could not be read; their faces count as missed")
        raise typer.Exit(InputError.exit_code)


def pixels(long_side: str) -> int | None:
    """Reads --long-side: a number of pixels, 0 for "original", None for nothing."""
    if not long_side:
        return None
    if long_side == "original":
        return 0
    if not long_side.isascii() or not long_side.isdigit() or int(long_side) == 0:
        raise UsageError(f"--long-side {long_side} is no number of pixels", "give a number such as 640, or: original")
    return int(long_side)


def check_free(path: Path | None, overwrite: bool) -> None:
    """Finds out before the work, not after it, that a result cannot be written."""
    if path is None:
        return
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists", "choose another name, or say --overwrite")
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no folder {path.absolute().parent}", "make it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"{path} cannot be written: its folder takes no files", "choose another place")


def _check_apart(*paths: Path | None) -> None:
    there = [path.absolute() for path in paths if path is not None]
    if len(set(there)) < len(there):
        raise UsageError("two outputs have the same name", "give --output, --detections and --page one each")
