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
    Provider,
    ProviderOption,
    Redaction,
    RequireSignatureOption,
)
from mlcycle.cli.long_side import LongSideOption
from mlcycle.cli.redact.options import AtOption, MethodOption, OutOption, OverwriteOption, ThresholdOption


def redact(  # noqa: PLR0913, PLR0917
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Image and video files, or - for an image on standard input."),
    ],
    method: MethodOption = Redaction.blur,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    model: ModelOption = None,
    require_signature: RequireSignatureOption = None,
    threshold: ThresholdOption = None,
    at: AtOption = None,
    long_side: LongSideOption = "",
    max_pixels: MaxPixelsOption = None,
    provider: ProviderOption = Provider.auto,
    threads: LocalThreadsOption = None,
) -> None:
    """Cover all faces in copies of images, which have no metadata.

    photo.jpg becomes photo_redacted.jpg beside it; formats other than JPEG and PNG become PNG. Look at the copies
    before you pass them on: a model can miss a face. Regions that are covered although they score less than a face
    must are doubtful, and their images are named. An image that cannot be read or is damaged has no copy; the exit
    code is then 3.

    Example:  mlcycle redact photo.jpg

    Example:  mlcycle redact party.jpg --method fill --out party_public.jpg
    """
    from mlcycle.cli.redact.images import redact_images
    from mlcycle.errors import UsageError

    options = InferOptions(
        model=model, require_signature=require_signature, redact=(method, Path()), overwrite=overwrite,
        threshold=threshold, at=at, provider=provider, threads=threads, long_side=long_side, max_pixels=max_pixels,
    )  # fmt: skip
    if folder := next((each for each in images if Path(each).is_dir()), None):
        raise UsageError(f"{folder} is a folder", f"mlcycle infer dir {folder} --redact {method} DIR")
    redact_images(images, out, options)
