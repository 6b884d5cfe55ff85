"""Attention and block of BEiT v2: no bias on keys, positions as a bias of the logits, layer scale."""

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

EPS = 1e-6  # of every layer norm


def gathered(table: Tensor, index: Tensor) -> Tensor:
    """A table of biases (T, H) at index (N, N) -> (H, N, N)."""
    return table[index].permute(2, 0, 1).contiguous()


class RelativePositionBias(nn.Module):
    """One table for all blocks: index (N, N) -> bias (H, N, N), gathered once a forward pass."""

    def __init__(self, rows: int, num_heads: int):
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(self, index: Tensor) -> Tensor:
        return gathered(self.relative_position_bias_table, index)


class Attention(nn.Module):
    """Tokens (B, N, D) -> (B, N, D).

    rows: of the block's own table of position biases, 0 for none. fused: one fused operator in place of stored maps.
    """

    def __init__(self, dim: int, num_heads: int, rows: int, fused: bool):
        super().__init__()
        self.num_heads = num_heads
        self.fused_attn = fused
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads)) if rows else None
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, index: Tensor | None = None, bias: Tensor | None = None, queries: Tensor | None = None
    ) -> Tensor:
        """index (N, N): into the block's own table. bias (H, N, N): of a table that blocks share. queries (B, m):
        tokens whose outputs are wanted, (B, m, D); all if None."""
        if self.relative_position_bias_table is not None:
            own = gathered(self.relative_position_bias_table, index)
            bias = own if bias is None else bias + own
        q, k, v = (self._heads(part) for part in self._projected(x, queries))
        if bias is not None:
            bias = bias[None] if queries is None else bias[:, queries].transpose(0, 1)  # (B or 1, H, m, N)
        if self.fused_attn:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))
        else:
            logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            out = self.attn_drop((logits if bias is None else logits + bias).softmax(dim=-1)) @ v
        return self.proj(out.transpose(1, 2).flatten(2))

    def _projected(self, x: Tensor, queries: Tensor | None) -> tuple[Tensor, ...]:
        """q (B, m, D), k and v (B, N, D)."""
        still = torch.zeros_like(self.v_bias)
        if queries is None:
            return F.linear(x, self.qkv.weight, torch.cat([self.q_bias, still, self.v_bias])).chunk(3, dim=-1)
        dim = len(still)
        q = F.linear(picked(x, queries), self.qkv.weight[:dim], self.q_bias)
        return q, *F.linear(x, self.qkv.weight[dim:], torch.cat([still, self.v_bias])).chunk(2, dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, N, H d) -> (B, H, N, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention, then an MLP, each behind a layer norm, scaled by channel, and added. init_values: of the scales; 0 for
    none. The other arguments are Attention's."""

    def __init__(
        self, dim: int, num_heads: int, rows: int, fused: bool, init_values: float = 0.0, drop_path: float = 0.0
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, num_heads, rows, fused)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, 4 * dim)
        self.gamma_1, self.gamma_2 = (
            nn.Parameter(torch.full((dim,), init_values)) if init_values else None for _ in range(2)
        )

    def forward(
        self, x: Tensor, index: Tensor | None = None, bias: Tensor | None = None, queries: Tensor | None = None
    ) -> Tensor:
        """(B, N, D) -> (B, N, D), or (B, m, D) of the queries alone; arguments are Attention's."""
        attended = self.attn(self.norm1(x), index, bias, queries)
        x = x if queries is None else picked(x, queries)
        x = x + self.drop_path(_scaled(attended, self.gamma_1))
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.gamma_2))


def picked(x: Tensor, tokens: Tensor) -> Tensor:
    """Tokens (B, m) of x (B, N, D) -> (B, m, D)."""
    return x.gather(1, tokens[..., None].expand(-1, -1, x.shape[-1]))


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale
