"""The closing line of `mlcycle infer`: what was counted, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcycle.cli.infer.options import InferOptions
    from mlcycle.inference.tally import Tally


def closing_line(tally: Tally, options: InferOptions) -> str:
    """Returns the counts and where the copies were written, as one line."""
    return "; ".join([counts(tally), *_copies(tally, options)])


def counts(tally: Tally) -> str:
    """Returns e.g. "12 images, 7 faces, 1 failed, 34.1 images per second"."""
    parts = [number(tally.images, "image"), number(tally.faces, "face"), f"{tally.failed} failed"]
    return ", ".join([*parts, f"{tally.images / tally.seconds:.1f} images per second"])


def number(count: int, word: str) -> str:
    """Returns e.g. "1 face" or "1,200 faces"."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _copies(tally: Tally, options: InferOptions) -> list[str]:
    """Returns the folder of each kind of copy that was written, and the quality of redacted copies."""
    from mlcycle.inference.record import JPEG_QUALITY, MPEG4_QUANTISER, VP9_CRF

    videos = f"videos MPEG-4 (quantiser {MPEG4_QUANTISER}) or VP9 (crf {VP9_CRF}) with their original sound, "
    quality = f"; JPEGs of quality {JPEG_QUALITY}, {videos * tally.has_videos}others lossless, none with metadata"
    phrases = {"annotated": "drawn in", "redacted": "redacted in", "cropped": "cropped in"}
    return [
        f"{phrases[kind]} {folder}{quality if kind == 'redacted' else ''}"
        for kind, folder in options.folders().items()
        if tally.copies[kind]
    ]
