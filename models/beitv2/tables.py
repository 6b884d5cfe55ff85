"""Relative positions of patches and their tables, and both tables and absolute positions on another grid."""

from math import isqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_CLS_ROWS = 3  # a table's last: CLS to patch, patch to CLS, CLS to CLS
_RATIOS = 1.01, 1.5  # between which the growth of distances is sought
_PRECISION = 1e-6  # of that search
_SUPPORT = 4  # coordinates that a cubic spline takes at least


def relative_index(side: int) -> Tensor:
    """Which row of a table of (2 side - 1)² + 3 rows says how query i sees key j: int64 (N, N), N = 1 + side², the CLS
    token first, patches row-major."""
    span = 2 * side - 1
    y, x = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
    patches = (y[:, None] - y + side - 1) * span + x[:, None] - x + side - 1
    index = torch.empty(1 + side**2, 1 + side**2, dtype=torch.int64)
    index[1:, 1:] = patches
    index[0, 1:] = span**2
    index[1:, 0] = span**2 + 1
    index[0, 0] = span**2 + 2
    return index


def resize_table(table: Tensor, side: int) -> Tensor:
    """A table (S, heads) of a square grid of patches for one of side x side, ((2 side - 1)² + 3, heads), of its dtype.

    Cubic splines of one head each, in float32, through points whose distances grow geometrically from the middle, so
    that near patches keep their bias and far ones are stretched; the rows of the CLS token are kept.

    Raises ValueError if S is of no such grid, or if that has fewer than three patches a side.
    """
    source, target = isqrt(max(0, len(table) - _CLS_ROWS)), 2 * side - 1
    if source % 2 == 0 or source**2 + _CLS_ROWS != len(table):
        raise ValueError(
            f"the table has {len(table)} rows, and must have (2g - 1)² + {_CLS_ROWS} for a grid of gxg patches, 732 "
            "for 14x14. Give the relative position bias of a square grid."
        )
    if source == target:
        return table
    if source < _SUPPORT:
        raise ValueError(
            f"the table is of {(source + 1) // 2}x{(source + 1) // 2} patches, too few for cubic splines. Give one of "
            "3x3 or more."
        )
    from scipy.interpolate import RectBivariateSpline  # here: importing the zoo needs no SciPy

    axis, _ = _axis(source, target)
    points = np.arange(-(target // 2), target // 2 + 1).clip(axis[0], axis[-1])
    table = table.detach()
    maps = table[:-_CLS_ROWS].float().cpu().numpy().reshape(source, source, -1)
    resized = [RectBivariateSpline(axis, axis, maps[..., head])(points, points) for head in range(maps.shape[-1])]
    patches = torch.from_numpy(np.stack(resized, axis=-1).reshape(target**2, -1).astype(np.float32))
    return torch.cat([patches.to(table), table[-_CLS_ROWS:]])


def _axis(source: int, target: int) -> tuple[np.ndarray, float]:
    """Coordinates of `source` points that just reach as far as `target` points a unit apart, and the ratio by which
    their distances grow: q in 1 + q + q² + ... = target // 2, found by bisection as officially."""
    low, high = _RATIOS
    while high - low > _PRECISION:
        ratio = (low + high) / 2
        if (1 - ratio ** (source // 2)) / (1 - ratio) > target // 2:
            high = ratio
        else:
            low = ratio
    right = np.cumsum([ratio**power for power in range(source // 2)])
    return np.concatenate([-right[::-1], [0.0], right]), ratio


def resize_positions(table: Tensor, side: int) -> Tensor:
    """Absolute positions (1, 1 + g², C) of gxg patches for side x side: bicubic, the CLS token's kept.

    Officially sampled by the factor (side + 0.1) / g rather than by side / g, so that it rounds to `side`.
    """
    old = isqrt(int(table.shape[1]) - 1)  # int: torch.jit traces sizes as tensors
    if side == old:
        return table
    maps = table[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, scale_factor=((side + 0.1) / old,) * 2, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], maps.flatten(2).transpose(1, 2)], dim=1)
