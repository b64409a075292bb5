"""The argument `long_side`: the size at which images are shown to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from mlcycle.errors import UsageError

LongSide: TypeAlias = int | Literal["original"] | Sequence[int | Literal["original"]]


def long_sides_of(long_side: LongSide | None) -> tuple[int, ...] | None:
    """Returns the long sides in pixels, 0 for the image's own size; None for the model's.

    Raises:
        UsageError: neither a positive number, nor "original", nor several of these.
    """
    if long_side is None:
        return None
    each = (long_side,) if isinstance(long_side, int | str) else tuple(long_side)
    if not each or not all(side == "original" or (isinstance(side, int) and side > 0) for side in each):
        hint = "pass a number of pixels such as 640, or original, or several of these"
        raise UsageError(f"long_side={long_side!r} is not a size", hint)
    return tuple(0 if side == "original" else int(side) for side in each)
