"""`mlcycle data negatives`: what a model takes for faces → a set of scenes without faces, to train on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import completions, console
from mlcycle.cli.data.options import ModelFile, OneSplit, Out, SetPath, Workers
from mlcycle.cli.long_side import LongSideOption, parse_long_sides
from mlcycle.counted import counted
from mlcycle.errors import InputError

if TYPE_CHECKING:
    from mlcycle.workflows.negatives import Advance

Judge = Annotated[
    Path,
    typer.Option(
        "--judge",
        metavar="FILE",
        autocompletion=completions.models,
        help="Keep what this model detects out of the set.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="The least score of a false alarm, 0 to 1. Default: the model's threshold sensitive.", show_default=False
    ),
]
JudgeThreshold = Annotated[
    float | None,
    typer.Option(
        help="The least score of a face that the judge detects. Default: the judge's threshold sensitive.",
        show_default=False,
    ),
]


def negatives(  # noqa: PLR0913
    path: SetPath,
    *,
    model: ModelFile,
    out: Out,
    judge: Judge = Path("face-base"),
    split: OneSplit = "",
    threshold: Threshold = None,
    judge_threshold: JudgeThreshold = None,
    long_side: LongSideOption = "",
    workers: Workers = 0,
) -> None:
    """Cut out what a model takes for faces, as a set of scenes without faces.

    A false alarm is a detection that touches neither a labelled face nor one that a second model, the judge, detects.
    Its surroundings become a crop, without any of these faces. Train on the new set in addition to the others, and the
    model learns what is not a face. Inspect it first (mlcycle data preview): a face without a label that the judge
    misses is harmful in it. Unreadable images are listed and left out; the exit code is then 3. To use a run, freeze it
    first.

    Example:  mlcycle data negatives data/mine --model face-nano --split train --out data/negatives
    """
    from mlcycle.datasets.new_folder import must_be_free
    from mlcycle.workflows import negatives as conductor

    must_be_free(out)
    options = conductor.Options(split, threshold, judge_threshold, parse_long_sides(long_side), workers)
    with ExitStack() as bar:

        def started(images: int) -> Advance:
            console.say(f"running {model} and {judge} on {counted(images, 'image')} of {path}")
            return bar.enter_context(console.progress("detecting", images))

        written = conductor.write_negatives(model, judge, path, out, options, started)
    for name, problem in written.unreadable:
        console.warn(f"{name}: {problem}")
    console.data(f"{out}: {counted(written.crops, 'crop')} of {counted(written.images, 'image')}, without faces")
    console.say(f"next: mlcycle data preview {out}")
    if written.unreadable:
        console.warn(f"{counted(len(written.unreadable), 'image')} could not be read")
        raise typer.Exit(InputError.exit_code)
