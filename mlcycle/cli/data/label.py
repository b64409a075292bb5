"""`mlcycle data label`: images without labels → a set whose labels a model made."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.data.sets import Images, Out, Put
from mlcycle.errors import InputError

if TYPE_CHECKING:
    from mlcycle.workflows.labelling import Advance


def label(  # noqa: PLR0913
    named: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images, and folders that hold some.")],
    *,
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="The frozen model file, or a bundled name.")],
    out: Out,
    threshold: Annotated[
        float | None, typer.Option(help="The least score of a label; the model's balanced.", show_default=False)
    ] = None,
    ignore_from: Annotated[
        float | None,
        typer.Option(help="The least score of a box to be ignored; the model's sensitive.", show_default=False),
    ] = None,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty/--leave-out-empty", help="What to do with images without any box.")
    ] = True,
    images: Put = Images.link,
    long_side: Annotated[
        str, typer.Option(metavar="N|original", help="Pixels; without it the model's own.", show_default=False)
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0: one for each core.")] = 0,
) -> None:
    """Label images with a model: a COCO set that a recipe can name, its labels by a model and not by people.

    Faces that score --threshold and more become labels; below that, down to --ignore-from, boxes to be ignored, which
    are learnt neither as faces nor as background. Each has its score, and the set says which model made it, by its
    sha256, and how. Images that cannot be read are named and left out; the exit code is then 3. A run is frozen
    first.

    Example:  mlcycle data label images/ --model face-base --out data/labelled
    """
    from mlcycle.cli.evaluate import pixels
    from mlcycle.datasets.new_folder import must_be_free
    from mlcycle.datasets.writing import write_set
    from mlcycle.workflows import labelling

    must_be_free(out)
    options = labelling.Options(threshold, ignore_from, keep_empty, pixels(long_side), workers)
    with ExitStack() as bar:

        def started(images: int) -> Advance:
            console.say(f"asking {model} about {images:,} images")
            return bar.enter_context(console.progress("asking", images))

        found = labelling.label(model, named, options, started)
    for name, sentence in found.unusable:
        console.warn(f"{name}: {sentence}")
    lost = write_set({"": found.images}, "coco", out, images=images.value, info=found.origin)
    for sentence in lost:
        console.warn(sentence)
    empty = f"{found.empty:,} without any box {'kept' if keep_empty else 'left out'}"
    console.data(
        f"{out}: {len(found.images):,} images with {found.faces():,} faces and {found.ignored():,} boxes to "
        f"be ignored; {empty}"
    )
    console.say(f"look at it: mlcycle data preview {out}")
    if found.unusable:
        console.warn(f"{len(found.unusable):,} images could not be read and are not in the set")
        raise typer.Exit(InputError.exit_code)
