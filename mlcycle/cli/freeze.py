"""`mlcycle freeze`: the door between the two lives. The gate that compares both ways stands here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.extras import extra


def freeze(
    run: Annotated[Path, typer.Argument(help="The run folder that `mlcycle train` left.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write. Default: models/NAME-DIGEST.onnx.", show_default=False),
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            help="A photograph, or a folder of them, to compare both ways on. Default: held-out ones of the run.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many photographs to compare both ways on.")] = 32,
) -> None:
    """Freeze a trained run into one immutable model file.

    Before it is published, the file answers real photographs through the inference pipeline, in a process without
    torch, and must say what the training pipeline says; else nothing is written and the exit code is 5. The file is
    read-only, never written over another, and the same run always gives the same bytes. Its sha256 goes to stdout,
    and beside the file in the form that `sha256sum -c` reads.

    Example:  mlcycle freeze runs/face
    """
    with extra("train", "mlcycle freeze"):
        from mlcycle.training.freeze import freeze as freeze_run
    from mlcycle.cli.gate import photographs_for, two_ways_meet

    chosen = photographs_for(run, photos or [], count)
    console.say(f"comparing both ways on {len(chosen)} photographs …")
    for photo in chosen:
        console.detail(f"  {photo}")
    frozen = freeze_run(run, out, lambda still, candidate: two_ways_meet(still, candidate, chosen))
    console.say(f"both ways agree: {frozen.verdict}")
    console.say(f"frozen: {frozen.path} ({frozen.size / 1e6:.2f} MB, read-only)")
    console.data(f"{frozen.sha256}  {frozen.path}")
