"""`mlcycle data suspects`: the labels that a model contradicts most."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.data.sets import SetPath
from mlcycle.errors import InputError

if TYPE_CHECKING:
    from mlcycle.workflows.suspects import Advance, Suspects


def suspects(
    path: SetPath,
    *,
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="The frozen model file, or a bundled name.")],
    split: Annotated[str, typer.Option("--split", help="Which part of the set, as train or val.")] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="A new folder, for the list, the sheet and JSON Lines."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=600, help="How many images the sheet has.")] = 60,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many suspects are printed.")] = 20,
    long_side: Annotated[
        str, typer.Option(metavar="N|original", help="Pixels; without it the model's own.", show_default=False)
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0: one for each core.")] = 0,
) -> None:
    """List the labels that a model contradicts most: no face there, another box or other points, a face without label.

    The list is ordered by how much more frequent what the model says is about wrong labels than about the labels of
    this set, in bits; the size of a face counts. What each file in FOLDER holds: data/README.md. Nothing is changed in
    the set. A run is frozen first.

    Example:  mlcycle data suspects data/mine --model models/face.onnx --split train --out suspects
    """
    from mlcycle.cli.evaluate import pixels
    from mlcycle.datasets.new_folder import must_be_free
    from mlcycle.workflows import suspects as conductor
    from mlcycle.workflows import suspects_list

    if out is not None:
        must_be_free(out)
    options = conductor.Options(split=split, long_side=pixels(long_side), workers=workers)
    with ExitStack() as bar:

        def started(images: int) -> Advance:
            console.say(f"asking {model} about {images:,} images of {path}")
            return bar.enter_context(console.progress("asking", images))

        found = conductor.find_suspects(model, path, options, started)
    if out is not None:
        _write(found, out, count)
    console.data(suspects_list.as_table(found, rows))
    for name, _, sentence in found.unreadable:
        console.warn(f"{name}: {sentence}")
    if found.unreadable:
        console.warn(f"{len(found.unreadable):,} images could not be read; their labels were not judged")
        raise typer.Exit(InputError.exit_code)


def _write(found: Suspects, out: Path, count: int) -> None:
    from mlcycle.datasets.new_folder import filled
    from mlcycle.workflows import suspects_list
    from mlcycle.workflows.suspects_sheet import draw_sheet

    likely = found.likely()
    shown = likely[:count]
    with filled(out) as folder:
        # A file name need not be UTF-8, and must not cost the list.
        kept = {"encoding": "utf-8", "errors": "backslashreplace"}
        (folder / "suspects.csv").write_text(suspects_list.as_csv(likely), **kept)
        (folder / "suspects.jsonl").write_text(suspects_list.as_json_lines(likely), **kept)
        if shown:
            title = f"the first {len(shown):,} of {len(likely):,} suspects among {found.labels:,} labels"
            with console.progress("drawing", len(shown)) as advance:
                draw_sheet(shown, title, advance).save(folder / "sheet.jpg", quality=88)
    console.say(f"the list and the contact sheet are in {out}")
