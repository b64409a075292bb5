"""The closing lines of `mlcycle infer`: what was counted, as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlcycle.cli import console
from mlcycle.counted import counted

if TYPE_CHECKING:
    from mlcycle.cli.infer.options import InferOptions
    from mlcycle.inference.tally import Doubtful, Tally


@contextmanager
def tallied(tally: Tally, options: InferOptions) -> Iterator[None]:
    """Prints the counts when the block ends; of one that fails, only if it has counted an image."""
    try:
        yield
    except BaseException:
        if tally.images:
            _say_counts(tally, options)
        raise
    _say_counts(tally, options)


def _say_counts(tally: Tally, options: InferOptions) -> None:
    """Prints the counts, where copies were written, what failed, and how many redacted regions are doubtful."""
    console.say("; ".join([counts(tally), *_copies(tally, options)]))
    if options.out:  # otherwise the results on stdout show it
        for sentence in _failed(tally):
            console.say(sentence)
    if console.is_terminal() and tally.faces and not (options.folders() or options.out):
        console.say("to see them drawn: --annotate DIR")
    if tally.doubtful and tally.copies["redacted"]:
        console.say(_doubtful(tally.doubtful, noun(tally.images, tally.frames)))


def counts(tally: Tally) -> str:
    """Returns e.g. "12 images, 7 faces, 1 failed, 34.1 images per second"; of videos alone, with frames.

    Without a readable image it has no rate.
    """
    word = noun(tally.images, tally.frames)
    parts = [counted(tally.images, word), counted(tally.faces, "face"), f"{tally.failed} failed"]
    rate = [f"{tally.images / tally.seconds:.1f} {word}s per second"] if tally.images > tally.failed else []
    return ", ".join(parts + rate)


def _copies(tally: Tally, options: InferOptions) -> list[str]:
    """Returns the folder of each kind of copy that was written, and the quality of redacted copies."""
    from mlcycle.inference.record import JPEG_QUALITY, VP9_CRF

    videos = f"videos VP9 (crf {VP9_CRF}) with their sound, voices unchanged, "
    quality = f"; JPEGs of quality {JPEG_QUALITY}, {videos * bool(tally.frames)}others lossless, none with metadata"
    phrases = {"annotated": "drawn in", "redacted": "redacted in", "cropped": "cropped in"}
    return [
        f"{phrases[kind]} {folder}{quality if kind == 'redacted' else ''}"
        for kind, folder in options.folders().items()
        if tally.copies[kind]
    ]


def _failed(tally: Tally) -> list[str]:
    """Returns a sentence for each of the first failed images, and one that counts the others."""
    sentences = [f"failed: {name}: {reason}" for name, reason in tally.first_failed]
    if more := tally.failed - len(sentences):
        sentences.append(f"{more} more failed; the results name them")
    return sentences


def _doubtful(doubtful: Doubtful, word: str) -> str:
    if not doubtful.regions:
        return f"no doubtful regions: everything that is covered scores at least {doubtful.below:g}"
    most = ", ".join(f"{name} ({count})" for count, name in doubtful.most())
    what = f"{counted(doubtful.regions, 'doubtful region')}, with scores below {doubtful.below:g}"
    return f"{what}, in {counted(doubtful.images, word)}, where others may have been missed: check {most}"


def noun(images: int, frames: int) -> str:
    """Returns what was counted: frames if there were only videos, else images."""
    return "frame" if images and frames == images else "image"
