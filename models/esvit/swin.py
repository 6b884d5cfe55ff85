"""Swin as EsViT has it: windows and shifts are those of 224 px at every size, maps are padded before they are shifted.

    image (B, 3, H, W) -> patch embedding, norm (B, H/4, W/4, C)
    stage 1: windows on a grid of stride 4, C     -> merging
    stage 2:                      stride 8, 2C    -> merging
    stage 3:                      stride 16, 4C   -> merging
    stage 4:                      stride 32, 8C   -> norm

timm's Swin shifts before it pads, which is another function where both happen: crops of 96 px. Padded tokens are keys
like any other, with k and v equal to the bias of the projection.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, PatchEmbed, calculate_drop_path_rates, use_fused_attn
from timm.models.swin_transformer import PatchMerging, get_relative_position_index, window_partition, window_reverse
from torch import Tensor, nn

from models.arguments import whole
from models.esvit.multistage import MultiStage, Output, draw_weights

GRID = 56  # tokens along a side of the first stage at 224 px, which fixes windows and shifts
NORM = partial(nn.LayerNorm, eps=1e-6)


def window_mask(height: int, width: int, window: int, shift: int, device: torch.device | str) -> Tensor:
    """What is added to the logits of shifted windows: -100 between tokens that lay in different bands before the shift.

    (windows, window², window²) of a padded and shifted map, float32.
    """
    bands = [
        (torch.arange(side, device=device)[:, None] >= torch.tensor([side - window, side - shift], device=device)).sum(
            1
        )
        for side in (height, width)
    ]
    labels = window_partition((3 * bands[0][:, None] + bands[1])[None, ..., None], (window, window)).flatten(1)
    return (labels[:, None] != labels[:, :, None]) * -100.0


class WindowAttention(nn.Module):
    """Attention inside windows, with a bias by relative position."""

    def __init__(self, dim: int, num_heads: int, window: int, fused: bool):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.fused_attn = fused
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        index = get_relative_position_index(window, window)
        self.register_buffer("relative_position_index", index, persistent=False)

    @property
    def bias(self) -> Tensor:
        """(heads, window², window²)."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Windows of all images (B · windows, window², C), and a mask (windows, window², window²) or none."""
        rows, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(rows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.bias[None] if mask is None else self.bias + mask.to(x.dtype)[:, None]
        attend = self.fused if self.fused_attn else self.explicit
        return self.proj(attend(q, k, v, bias).transpose(1, 2).reshape(rows, tokens, -1))

    def explicit(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """q, k, v (B · windows, heads, N, d); bias (windows or 1, heads, N, N)."""
        logits = q * self.scale @ k.transpose(-2, -1)
        logits = (logits.unflatten(0, (-1, len(bias))) + bias).flatten(0, 1)
        return self.attn_drop(logits.softmax(dim=-1)) @ v

    def fused(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """The same by PyTorch's fused attention; windows with a mask become heads, so that bias and mask are
        stored once for all images."""
        q, k, v = (x.unflatten(0, (-1, len(bias))).flatten(1, 2) for x in (q, k, v))  # (B, windows · heads, N, d)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, 1)[None])
        return out.unflatten(1, (-1, self.num_heads)).flatten(0, 1)


class Block(nn.Module):
    """Attention and MLP, each added to what it reads."""

    def __init__(self, dim: int, num_heads: int, window: int, shift: int, drop_path: float, fused: bool):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = NORM(dim)
        self.attn = WindowAttention(dim, num_heads, window, fused)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = NORM(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, h, w, C). mask: of shifted windows; without one a shifted block makes it on the CPU, as officially."""
        _, height, width, _ = x.shape
        y = F.pad(self.norm1(x), (0, 0, 0, -width % self.window, 0, -height % self.window))
        padded = y.shape[1:3]
        if self.shift:
            mask = window_mask(*padded, self.window, self.shift, "cpu").to(x.device) if mask is None else mask
            y = y.roll((-self.shift, -self.shift), dims=(1, 2))
        y = window_partition(y, (self.window, self.window)).flatten(1, 2)
        y = self.attn(y, mask if self.shift else None).unflatten(1, (self.window, self.window))
        y = window_reverse(y, (self.window, self.window), *padded)
        if self.shift:
            y = y.roll((self.shift, self.shift), dims=(1, 2))
        x = x + self.drop_path(y[:, :height, :width])
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """Blocks on one grid, odd ones shifted where the grid at 224 px holds several windows, and the merging behind."""

    def __init__(
        self, dim: int, num_heads: int, grid: int, window: int, drop_paths: Sequence[float], fused: bool, last: bool
    ):
        super().__init__()
        self.window = min(grid, window)
        self.shift = window // 2 if grid > window else 0
        self.blocks = nn.ModuleList(
            Block(dim, num_heads, self.window, self.shift * (number % 2), rate, fused)
            for number, rate in enumerate(drop_paths)
        )
        self.downsample = None if last else PatchMerging(dim, norm_layer=NORM)

    def mask(self, x: Tensor) -> Tensor | None:
        """The mask of the shifted blocks for maps like x (B, h, w, C), made on its device.

        Once a pass: some small kernels. One that was kept would have to follow every size, device and kind of tensor.
        """
        if not self.shift:
            return None
        height, width = (side + -side % self.window for side in x.shape[1:3])
        return window_mask(height, width, self.window, self.shift, x.device)


class Swin(MultiStage):
    """Arguments: those of MultiStage, and window: tokens along a window's side, 7 or 14 officially."""

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window: int = 7,
        drop_path_rate: float = 0.0,
        **words: Any,
    ):
        whole("window", window, 1, "EsViT's Swin (7 or 14 in the paper)")
        widths = [embed_dim * 2**stage for stage in range(len(depths))]
        super().__init__(widths, **words)
        fused = self.impl == "fast" and bool(use_fused_attn())
        self.patch_embed = PatchEmbed(None, 4, self.in_chans, embed_dim, norm_layer=NORM, output_fmt="NHWC")
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        self.layers = nn.ModuleList(
            Stage(width, heads, GRID // 2**stage, window, rates[stage], fused, last=stage == len(depths) - 1)
            for stage, (width, heads) in enumerate(zip(widths, num_heads, strict=True))
        )
        self.norm = NORM(widths[-1])
        self.apply(draw_weights)

    def blocks(self, images: Tensor) -> Iterator[Output]:
        """After each block (B, h, w, C)."""
        self.check(images)
        x = self.patch_embed(images)
        for number, stage in enumerate(self.layers):
            mask = stage.mask(x) if self.impl == "fast" else None
            for block in stage.blocks:
                x = self.call(block, x, mask)
                yield Output(number, x)
            x = x if stage.downsample is None else stage.downsample(x)

    def keep_stages(self, number: int) -> None:
        self.layers = self.layers[:number]
        self.layers[-1].downsample = None
