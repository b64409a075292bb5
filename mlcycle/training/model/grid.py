"""The grids of cells that the network answers on: the vocabulary of network, assigner and losses."""

from __future__ import annotations

from dataclasses import dataclass

STRIDES = (4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Grid:
    """One level's cells: `rows` x `columns` of `stride` pixels, the first of them at index `start` among all cells."""

    stride: int
    rows: int
    columns: int
    start: int


def strides(finest: int) -> tuple[int, ...]:
    """Returns the strides of all grids in pixels, from the finest one's on."""
    return STRIDES[STRIDES.index(finest) :]


def grids(height: int, width: int, finest: int) -> tuple[Grid, ...]:
    """Returns the grids of an input of these sizes in pixels, which must be multiples of 32; `finest` is a stride.

    The last cells of the grids coarser than 32 may reach beyond the input.
    """
    found, start = [], 0
    for stride in strides(finest):
        found.append(Grid(stride, -(-height // stride), -(-width // stride), start))
        start += found[-1].rows * found[-1].columns
    return tuple(found)
