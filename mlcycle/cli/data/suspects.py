"""`mlcycle data suspects`: likely label errors, found by a model."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.data.options import ModelFile, OneSplit, SetPath, Workers
from mlcycle.cli.long_side import LongSideOption, parse_long_sides
from mlcycle.counted import counted
from mlcycle.errors import InputError

if TYPE_CHECKING:
    from mlcycle.workflows.suspects import Advance, Suspects


def suspects(
    path: SetPath,
    *,
    model: ModelFile,
    split: OneSplit = "",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Write the list as CSV and JSON Lines, and a contact sheet, to this new folder.",
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, max=600, help="Draw this many suspects on the sheet.")
    ] = 60,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=0, help="Print this many suspects.")] = 20,
    long_side: LongSideOption = "",
    workers: Workers = 0,
) -> None:
    """List likely label errors: labels that a model contradicts most.

    A suspect is a label where the model finds no face, another box or other landmarks, or a face without a label. The
    list is sorted by a log-likelihood ratio in bits: how much more often such a detection occurs at wrong labels than
    at the labels of this set, for faces of that size. data/README.md describes the files in FOLDER. The set is not
    changed. To use a run, freeze it first.

    Example:  mlcycle data suspects data/mine --model models/face.onnx --split train --out suspects
    """
    from mlcycle.datasets.new_folder import must_be_free
    from mlcycle.workflows import suspects as conductor
    from mlcycle.workflows import suspects_list

    if out is not None:
        must_be_free(out)
    options = conductor.Options(split=split, long_sides=parse_long_sides(long_side), workers=workers)
    with ExitStack() as bar:

        def started(images: int) -> Advance:
            console.say(f"running {model} on {counted(images, 'image')} of {path}")
            return bar.enter_context(console.progress("detecting", images))

        found = conductor.find_suspects(model, path, options, started)
    if out is not None:
        _write(found, out, count)
    console.data(suspects_list.as_table(found, rows))
    for name, _, problem in found.unreadable:
        console.warn(f"{name}: {problem}")
    if found.unreadable:
        console.warn(f"{counted(len(found.unreadable), 'image')} could not be read; their labels were not checked")
        raise typer.Exit(InputError.exit_code)


def _write(found: Suspects, out: Path, count: int) -> None:
    from mlcycle.datasets.new_folder import staged
    from mlcycle.workflows import suspects_list
    from mlcycle.workflows.suspects_sheet import draw_sheet

    likely = found.likely()
    drawn = likely[:count]
    with staged(out) as folder:
        # A file name need not be UTF-8.
        text = {"encoding": "utf-8", "errors": "backslashreplace"}
        (folder / "suspects.csv").write_text(suspects_list.as_csv(likely), **text)
        (folder / "suspects.jsonl").write_text(suspects_list.as_json_lines(likely), **text)
        if drawn:
            title = f"the first {len(drawn):,} of {len(likely):,} suspects among {found.labels:,} labels"
            with console.progress("drawing", len(drawn)) as advance:
                draw_sheet(drawn, title, advance).save(folder / "sheet.jpg", quality=88)
    console.say(f"the list and the contact sheet are in {out}" if drawn else f"the list, which is empty, is in {out}")
