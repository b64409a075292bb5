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
from mlcycle.cli.redact.options import AtOption, MethodOption, OutOption, OverwriteOption, ThresholdOption
from mlcycle.errors import UsageError


def redact(  # noqa: PLR0913, PLR0917
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...|FOLDER",
            help="Image and video files, - for an image on standard input, or a folder with all folders below it.",
        ),
    ],
    method: MethodOption = Redaction.blur,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    retry_failed: RetryFailedOption = False,
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
    """Cover all faces in copies of images, which have no metadata.

    photo.jpg becomes photo_redacted.jpg beside it; formats other than JPEG and PNG become PNG. Look at the copies
    before you pass them on: a model can miss a face. Regions that are covered although they score less than a face
    must are doubtful, and their images are named. An image that cannot be read or is damaged has no copy; the exit
    code is then 3.

    Of a folder, the copies are in RUN/redacted, with the folders below it, and RUN/report.html says what was done.
    However the command ends, the same command with --resume redacts the missing images.

    Example:  mlcycle redact photo.jpg

    Example:  mlcycle redact party.jpg --method fill --out party_public.jpg

    Example:  mlcycle redact archive --out run --resume
    """
    folder = _folder(images)
    if folder is not None:
        from mlcycle.cli.redact import batch

        out = batch.run_folder(folder, out)
        copies = out / batch.COPIES
    else:
        given = {"--resume": resume, "--retry-failed": retry_failed, "--videos": videos, "--private": private}
        _must_be_of_folder(given)
        copies = Path()  # each copy has a path of its own
    options = InferOptions(
        model=model, require_signature=require_signature, out=out if folder else None, redact=(method, copies),
        overwrite=overwrite, threshold=threshold, at=at, provider=provider, threads=threads, long_side=long_side,
        max_pixels=max_pixels, videos=videos, private=private, resume=resume, retry_failed=retry_failed,
    )  # fmt: skip
    if folder is not None:
        batch.redact_folder(folder, options)
        return
    from mlcycle.cli.redact.images import redact_images

    redact_images(images, out, options)


def _folder(images: list[str]) -> Path | None:
    """Returns the folder, if the only argument is one."""
    named = next((each for each in images if Path(each).is_dir()), None)
    if named and len(images) > 1:
        raise UsageError(f"{named} is a folder, and others are given too", "pass one folder, or images")
    return Path(named) if named else None


def _must_be_of_folder(options: dict[str, bool]) -> None:
    if option := next((name for name, given in options.items() if given), None):
        raise UsageError(f"{option} needs a folder of images", f"leave out {option}, or pass a folder")
