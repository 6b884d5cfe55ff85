"""CvT as EsViT has it ("cvt_v4"): windows without shifts or biases of position, for which convolutions make up.

    image (B, 3, H, W) -> 7x7 convolution of stride 4, norm (B, H/4, W/4, C1)
    stage 1: windows on a grid of stride 4   -> 3x3 convolution of stride 2, norm
    stage 2:                      stride 8   -> likewise
    stage 3:                      stride 16  -> likewise
    stage 4:                      stride 32  -> norm

What becomes queries, keys and values passes a depthwise 3x3 convolution and a batch norm first, as a whole map. Maps
are padded to whole windows before that, and padded tokens are keys like any other. Logits are scaled by the root of all
channels, not of a head's. Maps are (B, h, w, C) in memory, which convolutions see as (B, C, h, w), channels last.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch.nn.functional as F
from timm.layers import DropPath, QuickGELU, calculate_drop_path_rates, use_fused_attn
from timm.models import checkpoint
from timm.models.swin_transformer import window_partition, window_reverse
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.esvit.multistage import MultiStage, Output, draw_weights

# The model of the paper's table 4, officially experiments/imagenet/cvt_v4/s1.yaml (spec, sections 0 and 4).
CVT_TINY = dict(embed_dims=(64, 192, 384, 768), depths=(2, 2, 6, 2), num_heads=(1, 3, 6, 12), window=7)


def convolve(layers: nn.Module, x: Tensor) -> Tensor:
    """Run layers of (B, C, h, w) on (B, h, w, C)."""
    return layers(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Attention inside windows; smaller maps are one window."""

    def __init__(self, dim: int, num_heads: int, window: int, impl: str):
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.scale = dim**-0.5
        self.fused_attn = impl == "fast" and bool(use_fused_attn())
        self.qkv = nn.Sequential(
            OrderedDict(
                dw=nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False),
                bn=nn.BatchNorm2d(dim),
                pw=nn.Conv2d(dim, 3 * dim, 1),
            )
        )
        self.attn_drop = nn.Dropout(0.0)
        self.proj_out = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C)."""
        height, width = x.shape[1:3]
        window = (min(self.window, height, width),) * 2
        x = F.pad(x, (0, 0, 0, -width % window[0], 0, -height % window[0]))
        qkv = window_partition(convolve(self.qkv, x), window)  # (B · windows, window, window, 3C)
        qkv = qkv.flatten(1, 2).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = self.attend(*qkv).transpose(1, 2).flatten(2).unflatten(1, window)
        out = window_reverse(out, window, *x.shape[1:3])
        return convolve(self.proj_out, out[:, :height, :width])

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B · windows, heads, window², d) each."""
        if self.fused_attn:
            return F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.attn_drop((q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)) @ v


class FeedForward(nn.Module):
    """MLP of each token, as 1x1 convolutions."""

    def __init__(self, dim: int):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(dim, 4 * dim, 1), QuickGELU(), nn.Conv2d(4 * dim, dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C)."""
        return convolve(self.net, x)


class Residual(nn.Module):
    """x + drop_path(fn(norm(x)))."""

    def __init__(self, dim: int, drop_path: float, fn: nn.Module):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.fn(self.norm(x)))


class ConvEmbed(nn.Module):
    """Entry of a stage: a convolution whose patches overlap, and a norm."""

    def __init__(self, in_chans: int, dim: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, H/stride, W/stride, dim), rounded up."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Transformer(nn.Module):
    """The blocks of a stage, each of attention and feed-forward layer."""

    def __init__(self, dim: int, num_heads: int, window: int, drop_paths: Sequence[float], impl: str):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                Residual(dim, rate, WindowAttention(dim, num_heads, window, impl)),
                Residual(dim, rate, FeedForward(dim)),
            )
            for rate in drop_paths
        )


class CvT(MultiStage):
    """Arguments: those of MultiStage; embed_dims, depths, num_heads of each stage; window: tokens along its side."""

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        window: int = 7,
        drop_path_rate: float = 0.0,
        **words: Any,
    ):
        super().__init__(embed_dims, **words)
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        before = self.in_chans
        for number, (dim, heads, stage_rates) in enumerate(zip(embed_dims, num_heads, rates, strict=True)):
            kernel, stride, padding = (3, 2, 1) if number else (7, 4, 2)
            entry = ConvEmbed(before, dim, kernel, stride, padding)
            blocks = Transformer(dim, heads, window, stage_rates, self.impl)
            self.add_module(f"stage{number}", nn.ModuleList([entry, blocks]))
            before = dim
        self.norm = nn.LayerNorm(before)
        self.apply(draw_weights)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def blocks(self, images: Tensor) -> Iterator[Output]:
        """After each block (B, h, w, C)."""
        self.check(images)
        maps = images
        for stage in range(self.num_stages):
            entry, transformer = self.get_submodule(f"stage{stage}")
            x = entry(maps)
            for block in transformer.layers:
                x = self.call(block, x)
                yield Output(stage, x)
            maps = x.permute(0, 3, 1, 2)

    def call(self, block: nn.Module, *arguments) -> Tensor:
        """As the base's, but that what is computed again is no second batch for batch norms."""
        if not self.grad_checkpointing:
            return block(*arguments)
        return checkpoint(block, *arguments, context_fn=lambda: (nullcontext(), unnoticed(block)))

    def keep_stages(self, number: int) -> None:
        for stage in range(number, self.num_stages):
            delattr(self, f"stage{stage}")


@contextmanager
def unnoticed(block: nn.Module) -> Iterator[None]:
    """Batch norms of `block` keep their running statistics as they are, whatever they see."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
