"""`mlcycle data label`: images without labels → a set labelled by a model."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.data.options import ImageFiles, Images, ModelFile, Out, Workers
from mlcycle.cli.long_side import LongSideOption, parse_long_sides
from mlcycle.counted import counted
from mlcycle.errors import InputError

if TYPE_CHECKING:
    from mlcycle.workflows.labelling import Advance


Threshold = Annotated[
    float | None,
    typer.Option(
        help="Label faces from this score, 0 to 1. Default: the model's threshold balanced.", show_default=False
    ),
]
IgnoreFrom = Annotated[
    float | None,
    typer.Option(
        help="Ignore boxes from this score, 0 to 1. Default: the model's threshold sensitive.", show_default=False
    ),
]


def label(  # noqa: PLR0913
    paths: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, and folders of images.")],
    *,
    model: ModelFile,
    out: Out,
    threshold: Threshold = None,
    ignore_from: IgnoreFrom = None,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty/--leave-out-empty", help="Keep or leave out images without any box.")
    ] = True,
    images: ImageFiles = Images.link,
    long_side: LongSideOption = "",
    workers: Workers = 0,
) -> None:
    """Label images with a model, and write them as a COCO set.

    Detections with at least the score --threshold become labelled faces. Those below it, down to --ignore-from, become
    boxes to be ignored, which training counts neither as faces nor as background. Each box keeps its score, and the
    set's info names the sha256 of the model and the options. A recipe can train on the set as it is. Unreadable images
    are listed and left out; the exit code is then 3. To use a run, freeze it first.

    Example:  mlcycle data label images/ --model face-base --out data/labelled
    """
    from mlcycle.datasets.new_folder import must_be_free
    from mlcycle.datasets.writing import write_set
    from mlcycle.workflows import labelling

    must_be_free(out)
    options = labelling.Options(threshold, ignore_from, keep_empty, parse_long_sides(long_side), workers)
    with ExitStack() as bar:

        def started(images: int) -> Advance:
            console.say(f"labelling {counted(images, 'image')} with {model}")
            return bar.enter_context(console.progress("labelling", images))

        found = labelling.label(model, paths, options, started)
    for name, problem in found.unusable:
        console.warn(f"{name}: {problem}")
    notes = write_set({"": found.images}, "coco", out, images=images.value, info=found.origin)
    for note in notes:
        console.warn(note)
    empty = f"{counted(found.empty, 'image')} without any box {'kept' if keep_empty else 'left out'}"
    console.data(
        f"{out}: {counted(len(found.images), 'image')} with {counted(found.faces(), 'face')} and "
        f"{counted(found.ignored(), 'box', 'boxes')} to be ignored; {empty}"
    )
    console.say(f"next: mlcycle data preview {out}")
    if found.unusable:
        console.warn(f"{counted(len(found.unusable), 'image')} could not be read, left out of the set")
        raise typer.Exit(InputError.exit_code)
