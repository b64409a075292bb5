"""The option --long-side: the size at which images are shown to a model."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from mlcycle.errors import UsageError

LongSideOption = Annotated[
    str,
    typer.Option(
        "--long-side",
        metavar="N|original,…",
        help="Long side of the input in pixels, or the original size, above 2,048 pixels in overlapping tiles. "
        "Several, as in 640,original, find more faces at the sum of their costs. Default: the model's long side.",
        show_default=False,
    ),
]


def parse_long_sides(text: str) -> tuple[int, ...] | None:
    """Parses --long-side: pixels, 0 for "original"; None if the option is not given.

    Raises:
        UsageError: another word, or the same size twice.
    """
    if not text:
        return None
    found = tuple(_pixels(each, text) for each in text.split(","))
    if len(set(found)) < len(found):
        raise UsageError(f"--long-side {text} names a size twice", "pass each size once, such as 640,original")
    return found


def _pixels(word: str, text: str) -> int:
    if word == "original":
        return 0
    if not re.fullmatch(r"[1-9][0-9]{0,8}", word):
        raise UsageError(f"--long-side {text} is not a number of pixels", "pass 640, original or 640,original")
    return int(word)
