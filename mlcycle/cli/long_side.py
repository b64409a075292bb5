"""The option --long-side: the size at which images are shown to a model."""

from __future__ import annotations

from typing import Annotated

import typer

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
    from mlcycle.inference import views

    return views.long_sides_of_text(text, "--long-side") if text else None
