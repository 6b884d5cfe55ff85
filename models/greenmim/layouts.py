"""Attention within windows of unequal numbers of tokens, by two routes that compute the same.

A layout is made of one partition of one stage (`models.greenmim.plan.layout`) and used by all blocks that share it:

    tokens (R, N, C) -> gather -> the block's norms, linear layers and `attend` -> scatter -> tokens (R, N, C)
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

BLOCKED = -100.0  # added to logits between windows, as in the released code: finite, so that padding makes no NaN


def relative_index(coords: Tensor, window: int) -> Tensor:
    """Row of the bias table for each pair of query and key: (..., g, 2) -> (..., g, g). Of tokens in different windows
    it means nothing."""
    down, right = (coords[..., :, None, :] - coords[..., None, :, :] + window - 1).unbind(-1)
    return down * (2 * window - 1) + right


class Groups:
    """`impl="reference"`: the released code's way. Windows are packed into m groups of g tokens, padded with copies of
    token 0; attention is dense in a group, and what doesn't share a window is blocked. Norms, linear layers and FFN
    work on padding too."""

    def __init__(self, plan: dict[str, Any], window: int, like: Tensor):
        """like: a tensor of the type and device of the logits."""
        windows, coords = plan["windows"], plan["coords"]  # (m, g), (m, g, 2)
        self.order, self.inverse = plan["order"], plan["inverse"]
        self.groups, self.size = windows.shape
        together = (windows[:, :, None] == windows[:, None, :]) & (windows[:, :, None] >= 0)  # (m, g, g)
        self.together = together.to(like.dtype)[:, None]
        self.blocked = (1 - self.together) * BLOCKED
        self._coords, self._window = coords, window

    @cached_property
    def index(self) -> Tensor:
        """Rows of the bias table, the first where it isn't needed: (m, g, g)."""
        return relative_index(self._coords, self._window) * self.together[:, 0].bool()

    def gather(self, x: Tensor) -> Tensor:
        """(R, N, C) -> (R m, g, C)."""
        x = x if self.order is None else x.index_select(1, self.order.flatten())
        return x.reshape(-1, self.size, x.shape[-1])

    def scatter(self, x: Tensor) -> Tensor:
        """(R m, g, C) -> (R, N, C)."""
        if self.inverse is None:
            return x.reshape(-1, self.groups * self.size, x.shape[-1])
        return x.reshape(-1, self.groups * self.size, x.shape[-1]).index_select(1, self.inverse)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None, attn_drop: nn.Module) -> Tensor:
        """Scaled queries, keys and values (R m, heads, g, d) -> (R m, heads, g, d). table: relative position biases
        ((2w-1)², heads)."""
        logits = q @ k.transpose(-2, -1)
        shape = logits.shape
        bias = self.blocked
        if table is not None:
            bias = bias + table[self.index].permute(0, 3, 1, 2) * self.together
        logits = logits.view(-1, self.groups, *shape[1:]) + bias
        return attn_drop(logits.view(shape).softmax(dim=-1)) @ v


class Windows:
    """`impl="window"`: plain attention in one window after the other, without padding: the second oracle."""

    def __init__(self, plan: dict[str, Any], window: int, like: Tensor):
        self.order, self.inverse, self.sizes = plan["order"], plan["inverse"], plan["sizes"]
        self._coords, self._window = plan["coords"], window

    @cached_property
    def indices(self) -> list[Tensor]:
        """Rows of the bias table for each window."""
        return [relative_index(coords, self._window) for coords in self._coords.split(self.sizes)]

    def gather(self, x: Tensor) -> Tensor:
        """(R, N, C) in the order of windows."""
        return x.index_select(1, self.order)

    def scatter(self, x: Tensor) -> Tensor:
        """The order before."""
        return x.index_select(1, self.inverse)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None, attn_drop: nn.Module) -> Tensor:
        """Scaled queries, keys and values (R, heads, N, d) -> (R, heads, N, d)."""
        outs = []
        for i, (queries, keys, values) in enumerate(zip(*(x.split(self.sizes, dim=2) for x in (q, k, v)), strict=True)):
            logits = queries @ keys.transpose(-2, -1)
            if table is not None:
                logits = logits + table[self.indices[i]].permute(2, 0, 1)
            outs.append(attn_drop(logits.softmax(dim=-1)) @ values)
        return torch.cat(outs, dim=2)


Layout = Groups | Windows
LAYOUTS: dict[str, type[Layout]] = {"reference": Groups, "window": Windows}
