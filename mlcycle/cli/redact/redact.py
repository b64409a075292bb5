"""`mlcycle redact`: copies of images in which no face that the model finds can be recognised."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli.infer.options import (
    InferOptions,
    LocalThreadsOption,
    MaxPixelsOption,
    ModelOption,
    PrivateOption,
    Provider,
    ProviderOption,
    Redaction,
    RequireSignatureOption,
    ResumeOption,
    RetryFailedOption,
    VideosOption,
)
from mlcycle.cli.long_side import LongSideOption
from mlcycle.cli.redact.options import (
    REVIEW_IMAGES,
    AtOption,
    ByOption,
    DecisionsOption,
    MethodOption,
    NoReviewOption,
    OutOption,
    OverwriteOption,
    ReviewImagesOption,
    ThresholdOption,
)
from mlcycle.errors import UsageError

# Parameters that only a folder has, and those that its second pass has.
_OF_FOLDER = {"resume", "retry_failed", "videos", "private", "decisions", "by", "no_review", "review_images"}
_OF_SECOND_PASS = {"images", "out", "private", "decisions", "by", "no_review", "review_images"}


def redact(  # noqa: PLR0913, PLR0917
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...|FOLDER",
            help="Image and video files, - for an image on standard input, or a folder with all folders below it.",
        ),
    ],
    method: MethodOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    retry_failed: RetryFailedOption = False,
    decisions: DecisionsOption = None,
    by: ByOption = None,
    no_review: NoReviewOption = False,
    review_images: ReviewImagesOption = REVIEW_IMAGES,
    videos: VideosOption = False,
    model: ModelOption = None,
    require_signature: RequireSignatureOption = None,
    threshold: ThresholdOption = None,
    at: AtOption = None,
    long_side: LongSideOption = "",
    max_pixels: MaxPixelsOption = None,
    provider: ProviderOption = Provider.auto,
    threads: LocalThreadsOption = None,
    private: PrivateOption = False,
) -> None:
    """Write copies of images with all faces covered, and without metadata.

    The copy of photo.jpg is photo_redacted.jpg, next to it. Formats other than JPEG and PNG become PNG. Look at the
    copies before you pass them on, because a model can miss a face. Regions with scores below the threshold balanced
    are covered too; they are doubtful, and the command names the images that have some. An image that is unreadable or
    damaged gets no copy; the exit code is then 3.

    For a folder, the copies are in RUN/redacted, in the same sub-folders. RUN/review.html shows the images with
    doubtful regions and those without any face; the decisions that you save there are applied with --decisions.
    RUN/report.html says what was done. However the command ends, the same command with --resume redacts the missing
    images. See docs/redact.md and docs/review.md.

    Example:  mlcycle redact photo.jpg

    Example:  mlcycle redact party.jpg --method fill --out party_public.jpg

    Example:  mlcycle redact archive --out run --resume

    Example:  mlcycle redact archive --out run --decisions decisions.json
    """
    folder = _folder(images)
    _check(context, is_folder=folder is not None, is_second_pass=decisions is not None)
    from mlcycle.cli.redact import batch
    from mlcycle.redacting.second_pass import COPIES

    run = batch.run_folder(folder, out) if folder else None
    options = InferOptions(
        model=model, require_signature=require_signature, out=run, overwrite=overwrite,
        redact=(method or Redaction.blur, run / COPIES if run else Path()),  # beside images, each copy has its own path
        threshold=threshold, at=at, provider=provider, threads=threads, long_side=long_side, max_pixels=max_pixels,
        videos=videos, private=private, resume=resume, retry_failed=retry_failed,
    )  # fmt: skip
    if folder is None or run is None:
        from mlcycle.cli.redact.images import redact_images

        redact_images(images, out, options)
        return
    review = batch.Review(folder, run, 0 if no_review else review_images, private)
    if decisions is None:
        batch.redact_folder(folder, options, review)
        return
    from mlcycle.cli.redact.second_pass import decide

    decide(folder, decisions, by, options, review)


def _folder(images: list[str]) -> Path | None:
    """Returns the folder, if the only argument is one."""
    named = next((each for each in images if Path(each).is_dir()), None)
    if named and len(images) > 1:
        raise UsageError(f"{named} is a folder, and others are given too", "pass one folder, or images")
    return Path(named) if named else None


def _check(context: typer.Context, *, is_folder: bool, is_second_pass: bool) -> None:
    """Raises UsageError if an option is given that does not fit the others."""
    given = {name for name in context.params if _is_given(context, name)}
    _refuse(set() if is_folder else given & _OF_FOLDER, "needs a folder of images")
    _refuse(set() if is_second_pass else given & {"by"}, "needs --decisions FILE")
    why = "does not fit --decisions: a run keeps the settings that it was started with"
    _refuse(given - _OF_SECOND_PASS if is_second_pass else set(), why)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse(names: set[str], why: str) -> None:
    if names:
        option = f"--{min(names).replace('_', '-')}"
        raise UsageError(f"{option} {why}", f"leave out {option}")
