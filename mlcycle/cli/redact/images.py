"""`mlcycle redact IMAGE...`: a copy beside each image."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.model import count_images, detect_options, load_model, records_of
from mlcycle.cli.infer.options import InferOptions
from mlcycle.counted import counted
from mlcycle.inference.pages_and_frames import split_pages
from mlcycle.inference.sources import from_names
from mlcycle.redacting import beside
from mlcycle.redacting.outcome import Outcome, outcomes

# So many images that need a look are named.
_NAMED = 10


def redact_images(names: Sequence[str], out: Path | None, options: InferOptions) -> None:
    """Writes a redacted copy of each image; exits with 3 if one has none.

    Raises:
        UsageError: `out` does not fit the images, or two images would have the same copy.
        InputError: a copy exists and may not be replaced.
    """
    sources = beside.with_copies(list(split_pages(from_names(names, sys.stdin.buffer.read))), out)
    beside.must_be_free(sources, overwrite=options.overwrite)
    images = count_images(lambda: iter(sources), len(sources))
    detector = load_model(options, images)
    detection = detect_options(options, detector, images)
    below = detector.contract.thresholds["balanced"]
    done: list[Outcome] = []
    with console.progress("redacting", len(sources), beside_data=True) as advance:
        for outcome in outcomes(records_of(detector, sources, detection, options), below):
            console.data(outcome.line())
            done.append(outcome)
            advance()
    _say_what_to_look_at(done, below)
    if any(each.problem for each in done):
        raise typer.Exit(3)


def _say_what_to_look_at(done: Sequence[Outcome], below: float) -> None:
    advice = [sentence for each in done if (sentence := each.advice(below))]
    for sentence in advice[:_NAMED]:
        console.say(sentence)
    if len(advice) > _NAMED:
        more = counted(len(advice) - _NAMED, "more copy", "more copies")
        console.say(f"look at {more} with doubtful regions or without a face")
    copies = sum(1 for each in done if each.copy)
    if copies and not advice:
        which, it = ("the copy", "it") if copies == 1 else ("the copies", "them")
        console.say(f"look at {which} before you pass {it} on: a face may have been missed")
