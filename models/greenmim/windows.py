"""Where visible tokens lie, and in which window: integers on the host, by NumPy.

Cells are the squares of 32 pixels that a mask removes or keeps whole; a stage's grid has `factor` tokens along a cell's
side (8, 4, 2, 1), so that every stage sees complete cells.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["blocks", "coordinates", "window_ids"]

Integers = NDArray[np.int64]


def coordinates(removed: NDArray[np.bool_], factor: int) -> Integers:
    """(row, column) of the visible tokens of a stage, row-major: (tokens, 2).

    removed: (side, side) of cells, True = removed.
    """
    return np.argwhere(~removed.repeat(factor, 0).repeat(factor, 1))


def window_ids(coords: Integers, window: int, shift: int) -> Integers:
    """The window of each token, a number that grows row-major over windows: (tokens,).

    With a shift the grid splits into bands of `shift`, `window`, ..., `window`, `window - shift` tokens: the regions
    that Swin's cyclic roll and mask leave, without the roll.
    """
    bands = (coords + (window - shift) % window) // window
    return bands[:, 0] * (bands[:, 1].max() + 1) + bands[:, 1]


def blocks(removed: NDArray[np.bool_], factor: int, side: int) -> Integers:
    """The visible tokens of every visible square of side x side tokens, as indices into the row-major list of visible
    tokens: (squares, side²), row-major both ways. `side` divides `factor`."""
    seen = ~removed.repeat(factor, 0).repeat(factor, 1)
    rank = seen.cumsum().reshape(seen.shape) - 1
    squares = np.argwhere(seen[::side, ::side]) * side
    inner = np.indices((side, side)).reshape(2, -1)
    return rank[squares[:, :1] + inner[0], squares[:, 1:] + inner[1]]
