"""Where the redacted copy of a single image is written: photo.jpg → photo_redacted.jpg, beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlcycle import files
from mlcycle.errors import InputError, UsageError
from mlcycle.inference.record import JPEG_SUFFIXES, VIDEO_COPY_SUFFIXES, VIDEO_SUFFIXES, Source, title
from mlcycle.inference.sources import SUFFIXES

_IMAGE_COPY_SUFFIXES = {*JPEG_SUFFIXES, ".png"}


def with_copies(sources: Sequence[Source], out: Path | None = None) -> list[Source]:
    """Returns the images with the path of their redacted copy.

    Formats that copies do not have become PNG or MP4: scan.tif → scan_redacted.png, its page 2 scan_redacted_2.png.

    Args:
        out: the copy of the only image, instead of the path beside it.

    Raises:
        UsageError: `out` is for several images or has another suffix than a copy, an image on standard input has no
            `out`, or two images would have the same copy.
    """
    if out is not None:
        _must_fit(out, sources)
    first: dict[Path, Source] = {}
    for source in sources:
        if out is None and source.data is not None:
            raise UsageError("an image on standard input has no name", "name the copy: --out FILE")
        path = out or _beside(source)
        if path in first:
            both = " and ".join(title(each.key, each.part) for each in (first[path], source))
            raise UsageError(f"{path} would be the copy of two images: {both}", "redact one of them with --out")
        first[path] = source
    return [replace(source, copies={"redacted": path}) for path, source in first.items()]


def must_be_free(sources: Sequence[Source], *, overwrite: bool) -> None:
    """Refuses copies whose paths exist, before any work.

    Raises:
        InputError: a copy exists and `overwrite` is off, or it would replace one of the images.
    """
    existing = [path for source in sources for path in source.copies.values() if os.path.lexists(path)]
    if existing and not overwrite:
        more = f", and so do {len(existing) - 1} other copies" if len(existing) > 1 else ""
        raise InputError(f"{existing[0]} already exists{more}", "pass --overwrite, or another name with --out")
    for path in existing:
        if any(_is_same_file(path, source.path) for source in sources):
            raise InputError(f"the copy {path} would replace an image that is to be redacted", "leave that image out")


def _must_fit(out: Path, sources: Sequence[Source]) -> None:
    if len(sources) > 1:
        what = "pages" if sources[0].part else "images"
        raise UsageError(f"--out names one copy, and there are {len(sources)} {what}", "leave out --out")
    is_video = sources[0].path.suffix.lower() in VIDEO_SUFFIXES and sources[0].data is None
    suffixes = VIDEO_COPY_SUFFIXES if is_video else _IMAGE_COPY_SUFFIXES
    if out.suffix.lower() not in suffixes:
        kind = "a video" if is_video else "an image"
        hint = f"end it with one of {', '.join(sorted(suffixes))}"
        raise UsageError(f"--out {out} does not have the suffix of {kind} that can be written", hint)


def _beside(source: Source) -> Path:
    suffix = source.path.suffix
    known = suffix.lower() in SUFFIXES or suffix.lower() in VIDEO_SUFFIXES
    mark = f"_redacted_{source.part.number}" if source.part else "_redacted"
    name = source.path.stem if known else source.path.name
    if suffix.lower() not in {*_IMAGE_COPY_SUFFIXES, *VIDEO_COPY_SUFFIXES}:
        suffix = ".mp4" if suffix.lower() in VIDEO_SUFFIXES else ".png"
    return Path(files.shortened(str(source.path.with_name(name)), mark + suffix))


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
