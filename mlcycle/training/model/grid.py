"""The grids of cells on which the network predicts, as network, assigner and losses share them."""

from __future__ import annotations

from dataclasses import dataclass

STRIDES = (4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of one level: `rows` x `columns` of `stride` pixels; the first has index `start` among all cells."""

    stride: int
    rows: int
    columns: int
    start: int


def strides(finest: int) -> tuple[int, ...]:
    """Returns the strides of all grids in pixels, finest first; `finest` is the first of them."""
    return STRIDES[STRIDES.index(finest) :]


def grids(height: int, width: int, finest: int) -> tuple[Grid, ...]:
    """Returns the grids of an input.

    The last cells of the grids coarser than 32 may reach beyond the input.

    Args:
        height, width: of the input in pixels; multiples of 32.
        finest: the finest grid's stride in pixels.
    """
    found, start = [], 0
    for stride in strides(finest):
        found.append(Grid(stride, -(-height // stride), -(-width // stride), start))
        start += found[-1].rows * found[-1].columns
    return tuple(found)
