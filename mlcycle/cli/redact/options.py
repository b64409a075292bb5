"""The options that only `mlcycle redact` has, or that mean something else there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import completions
from mlcycle.cli.infer.options import Redaction

# Default of --review-images.
REVIEW_IMAGES = 300

MethodOption = Annotated[
    Redaction | None,
    typer.Option(
        "--method",
        help="How to cover faces: blur and pixelate keep the mean colours of 2 x 2 or 2 x 3 cells, fill keeps "
        "nothing. Default: blur.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE|RUN",
        help="Write the copy of a single image to this file, or of a folder to this run folder. Default: "
        "NAME_redacted.jpg, or FOLDER_redacted.",
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Let copies replace existing files, and a new run an earlier one.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="SCORE",
        min=0,
        max=1,
        help="Cover regions with at least this score. Default: the model's threshold sensitive.",
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="POINT",
        autocompletion=completions.operating_points,
        help="Use one of the model's thresholds: sensitive (default, few missed faces), balanced or precise.",
    ),
]
DecisionsOption = Annotated[
    Path | None,
    typer.Option(
        "--decisions",
        metavar="FILE",
        help="Apply these decisions, saved by review.html of the run in --out, and redact again what they change.",
    ),
]
ByOption = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Record in the report who made the --decisions, and when they were applied."
    ),
]
NoReviewOption = Annotated[
    bool, typer.Option("--no-review", help="Do not write RUN/review.html, which shows original images.")
]
ReviewImagesOption = Annotated[
    int, typer.Option("--review-images", metavar="N", min=1, max=2000, help="Show this many images in RUN/review.html.")
]
