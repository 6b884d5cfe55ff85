"""State dicts of Swin as its authors name them: what GreenMIM, SimMIM and the fine-tuned classifier have in common."""

import re

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["fit_bias_tables", "resize_bias_table", "swap_merge_order", "timm_names", "without_buffers"]

TABLE = "relative_position_bias_table"
DERIVED = ("relative_position_index", "attn_mask")


def without_buffers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what every constructor computes anew."""
    return {name: x for name, x in state.items() if not name.endswith(DERIVED)}


def timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm merges patches at the head of a stage, the authors at the end of the one before; timm's names are kept."""
    if not any(re.search(r"\blayers\.0\.downsample\.", name) for name in state):
        return state
    return {
        re.sub(r"\blayers\.(\d+)\.downsample\.", lambda found: f"layers.{int(found[1]) + 1}.downsample.", name): x
        for name, x in state.items()
    }


MERGE_ORDERS = (2023, 2022)


def swap_merge_order(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Between reading the four tokens of a square row by row and column by column: swap the middle quarters of what
    merging's norm and reduction read."""
    return {name: _swapped(x) if ".downsample." in name else x for name, x in state.items()}


def _swapped(x: Tensor) -> Tensor:
    first, second, third, fourth = x.chunk(4, dim=-1)
    return torch.cat([first, third, second, fourth], dim=-1)


def fit_bias_tables(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Resize bias tables to those of `model`, which has the same names."""
    own = {name: x.shape for name, x in model.state_dict().items() if name.endswith(TABLE)}
    return {
        name: resize_bias_table(x, round(own[name][0] ** 0.5)) if name in own and own[name] != x.shape else x
        for name, x in state.items()
    }


def resize_bias_table(table: Tensor, side: int) -> Tensor:
    """Cubic splines through (s², heads) -> (side², heads), s = 2 window - 1.

    Known offsets lie on a geometric grid that ends where the new ones do: densest at 0, where biases change most. That
    is SimMIM's rule (utils.py); its interpolator has left SciPy, RectBivariateSpline takes its place.
    """
    from scipy.interpolate import RectBivariateSpline

    old = round(len(table) ** 0.5)
    if old == side:
        return table
    known, asked = _geometric(old // 2, side // 2), np.arange(-(side // 2), side // 2 + 1)
    grids = table.detach().double().cpu().numpy().T.reshape(-1, old, old)
    order = min(3, old - 1)
    resized = [RectBivariateSpline(known, known, grid, kx=order, ky=order)(asked, asked) for grid in grids]
    return torch.from_numpy(np.stack(resized)).flatten(1).T.to(table).contiguous()


def _geometric(terms: int, end: int) -> np.ndarray:
    """0 and ± the first `terms` sums 1, 1 + q, 1 + q + q², ..., with q in [1.01, 1.5] such that the last is `end`."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q**terms) / (1 - q) > end else (q, high)
    steps = ((low + high) / 2) ** np.arange(terms)
    return np.concatenate([-steps.cumsum()[::-1], [0], steps.cumsum()])
