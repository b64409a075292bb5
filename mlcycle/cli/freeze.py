"""`mlcycle freeze`: the door between the two lives. The gate that compares both ways stands here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.freeze_points import tell


def freeze(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run folder that `mlcycle train` left.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write. Default: models/NAME-DIGEST.onnx.", show_default=False),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="An image, or a folder of them, to compare both ways on. Default: held-out ones of the run.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many images to compare both ways on.")] = 32,
    precise_false_alarms: Annotated[
        float,
        typer.Option(metavar="N", min=0, max=1000, help="False alarms an image that the threshold 'precise' may cost."),
    ] = 0.05,
    sensitive_false_alarms: Annotated[
        float,
        typer.Option(
            metavar="N", min=0, max=1000, help="False alarms an image that the threshold 'sensitive' may cost."
        ),
    ] = 1.0,
) -> None:
    """Freeze a trained run into one immutable model file.

    Its thresholds are chosen on all held-out images of the run: 'balanced' for the best F1, unless the recipe has
    a number; 'precise' for few false alarms, 'sensitive' for few misses. What they do there is shown, and stands in the
    file.

    Before it is published, the file answers real images through the inference pipeline, in a process without
    torch, and must say what the training pipeline says; else nothing is written and the exit code is 5. The file is
    read-only, never written over another, and the same run always gives the same bytes. Its sha256 goes to stdout,
    and beside the file in the form that `sha256sum -c` reads.

    Example:  mlcycle freeze runs/face
    """
    from mlcycle.library.freeze import freeze as freeze_run

    frozen = freeze_run(
        run, out, images=images or [], count=count, precise_false_alarms=precise_false_alarms,
        sensitive_false_alarms=sensitive_false_alarms, progress=console.Terminal(),
    )  # fmt: skip
    tell(frozen.points)
    console.say(f"both ways agree: {frozen.verdict}")
    console.say(f"frozen: {frozen.path} ({frozen.size / 1e6:.2f} MB, read-only)")
    console.data(f"{frozen.sha256}  {frozen.path}")
