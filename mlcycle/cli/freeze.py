"""`mlcycle freeze`: a trained run becomes a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.freeze_points import report_points


def freeze(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="The run folder that `mlcycle train` wrote, or the name of a bundled model.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Output file. Default: models/NAME-DIGEST.onnx.", show_default=False),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Image or folder on which to compare both pipelines. Default: validation images of the run.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of images on which to compare both pipelines.")
    ] = 32,
    precise_false_alarms: Annotated[
        float,
        typer.Option(metavar="N", min=0, max=1000, help="False alarms per image allowed at the threshold 'precise'."),
    ] = 0.05,
    sensitive_false_alarms: Annotated[
        float,
        typer.Option(metavar="N", min=0, max=1000, help="False alarms per image allowed at the threshold 'sensitive'."),
    ] = 1.0,
) -> None:
    """Freeze a trained run into one immutable model file.

    The thresholds are chosen on all validation images of the run: 'balanced' for the best F1, unless the recipe sets a
    number; 'precise' for few false alarms, 'sensitive' for few misses. Their recall, precision and false alarms are
    printed and stored in the file.

    Before the file is published, the inference pipeline runs it on real images, in a process without torch, and must
    give the outputs of the training pipeline. Otherwise nothing is written and the exit code is 5. The file is
    read-only and never overwrites another, and the same run always gives the same bytes. The sha256 goes to stdout and
    into a file next to the model file, in the format of `sha256sum -c`.

    For an unfinished run, the best weights so far are frozen, and a message says so.

    RUN can also be the name of a bundled model. Its weights, which come with mlcycle in 16 bits, are then frozen in
    float32, with the thresholds of the bundled file. Export other variants from the new file, because the bundled one
    is int8. For a run folder with such a name, write ./NAME.

    Example:  mlcycle freeze runs/face
    """
    from mlcycle.artifact import bundled
    from mlcycle.library.freeze import freeze as freeze_run

    frozen = freeze_run(
        run, out, images=images or [], count=count, precise_false_alarms=precise_false_alarms,
        sensitive_false_alarms=sensitive_false_alarms, progress=console.Terminal(),
    )  # fmt: skip
    report_points(frozen.points)
    what = "compared with the bundled file" if run in bundled.names() else "both pipelines agree"
    console.say(f"{what}: {frozen.verdict}")
    console.say(f"frozen: {frozen.path} ({frozen.size / 1e6:.2f} MB, read-only)")
    console.data(f"{frozen.sha256}  {frozen.path}")
