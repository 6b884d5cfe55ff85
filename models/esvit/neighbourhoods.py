"""A grid of tokens cut into square blocks, and the nine blocks around each: what ViL's sparse attention works on."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# (dy, dx), in blocks, from a block to those that it attends to: itself, then its neighbours 1 to 8 row by row.
OFFSETS = ((0, 0), (-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def to_blocks(x: Tensor, grid: tuple[int, int], window: int, border: int = 0) -> Tensor:
    """Tokens (..., heads, h · w, d) of a grid (h, w) -> (..., rows, columns, heads, window², d).

    The grid is padded with zeros, at the bottom and on the right to whole blocks, then with `border` blocks all around.
    """
    edges = [(border * window, border * window + -side % window) for side in grid]
    x = F.pad(x.unflatten(-2, grid), (0, 0, *edges[1], *edges[0]))
    x = x.unflatten(-3, (-1, window)).unflatten(-2, (-1, window))  # (..., heads, rows, window, columns, window, d)
    return x.movedim((-5, -3), (-6, -5)).flatten(-3, -2)


def from_blocks(x: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """(B, rows, columns, heads, window², d) -> tokens (B, h · w, C) of the grid (h, w)."""
    x = x.unflatten(4, (window, window)).permute(0, 1, 4, 2, 5, 3, 6)  # (B, rows, window, columns, window, heads, d)
    return x.flatten(5).flatten(3, 4).flatten(1, 2)[:, : grid[0], : grid[1]].flatten(1, 2)


def around(x: Tensor, dim: int, numbers: Sequence[int]) -> list[Tensor]:
    """For each of these numbers of OFFSETS what lies there of every block, where x has one block of border all around:
    (..., rows + 2, columns + 2, ...) -> (..., rows, columns, ...). dim: of rows."""
    rows, columns = x.shape[dim] - 2, x.shape[dim + 1] - 2
    offsets = [OFFSETS[number] for number in numbers]
    return [x.narrow(dim, 1 + dy, rows).narrow(dim + 1, 1 + dx, columns) for dy, dx in offsets]


def outside(grid: tuple[int, int], window: int, device: torch.device) -> Tensor:
    """Which keys of the nine blocks around every block are none of the grid's tokens: (rows, columns, 9, window²)."""
    places = [torch.arange(-window, side + -side % window + window, device=device) for side in grid]
    y, x = (((at < 0) | (at >= side)).unflatten(0, (-1, window)) for at, side in zip(places, grid, strict=True))
    blocks = (y[:, None, :, None] | x[None, :, None, :]).flatten(2)  # (rows + 2, columns + 2, window²)
    return torch.stack(around(blocks, 0, range(len(OFFSETS))), dim=2)


def neighbour_index(window: int) -> Tensor:
    """Row of the bias table for each token of a block and each of the nine blocks around it: (window², 9, window²)."""
    side = torch.arange(window)
    place = torch.stack(torch.meshgrid(side, side, indexing="ij")).flatten(1)  # (2, window²)
    keys = place[:, None] + window * torch.tensor(OFFSETS).T[:, :, None]  # (2, 9, window²)
    dy, dx = place[:, :, None, None] - keys[:, None] + 2 * window - 1
    return dy * (4 * window - 1) + dx
