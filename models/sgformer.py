"""SG-Former: Self-guided Transformer with Evolving Token Reallocation (ICCV 2023), arXiv:2308.12216.

Official code: https://github.com/OliverRensu/SG-Former (commit b982803, classification only).

    image (B, 3, 224, 224)
    patch_embed1 -> 3136 tokens of 56x56 -> block1: hybrid, guided, ... -> norm1    (B, C1, 56, 56)
    patch_embed2 ->  784 tokens of 28x28 -> block2: hybrid, guided, ... -> norm2    (B, C2, 28, 28)
    patch_embed3 ->  196 tokens of 14x14 -> block3: hybrid, guided, ... -> norm3    (B, C3, 14, 14)
    patch_embed4 ->   49 tokens of   7x7 -> block4: plain, ...          -> norm4    (B, C4, 7, 7) -> mean -> head

A hybrid block attends globally over a strided convolution with half of its heads and inside 7x7 windows with the other
half. How much attention each token received there is its significance. The guided block that follows sorts the tokens
by it and merges the insignificant ones in long runs and the significant ones in short runs; all tokens attend to those.

Differences from the paper (the official code has them too, and its size and MACs are the published ones):
- Every hybrid block has two scales (global and window); the paper describes up to four.
- One scale is global, over a strided convolution; the paper merges r x r tokens inside windows.
- Significance is the mean over heads and queries, local plus global; the paper sums over queries.
- Runs hold tokens that are neighbours in rank, anywhere in the image; the paper's figures show compact regions.
- The sin-cos position embedding is trained.
- The paper fine-tunes at 384; neither the official code nor this file can run it (7x7 windows don't fit).

Differences from the official code:
- Sizes that don't fit are refused with a message; officially a 448x112 image passes through the 224 model silently.
- Sorting is stable, so ties of significance have a defined order (officially undefined): each of the guided block's two
  sequences breaks them by its own index, row-major for kv1 and column-major for kv2. Without ties they are equal.
- Significance is averaged in float32 at least, on every device and under autocast.
- The attentions of guided and plain blocks use timm's fused path where it is enabled.
- The position table is resized to the model's (the official helper for that doesn't run).
- `drop_path_rate` is 0 unless given; the rates of the official training are in the docstrings of the variants.
- Initial weights have the official distributions, drawn once in another order, so not the same numbers from one seed.
"""

from functools import partial
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, to_2tuple, use_fused_attn
from timm.models import PretrainedCfg, build_model_with_cfg, checkpoint, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

__all__ = ["SGFormer", "checkpoint_filter_fn"]

IMPLS = ("auto", "reference")
WINDOW = 7
MULTIPLE = 32 * WINDOW  # of a side: the last stage, at stride 32, holds whole windows, and so do those before it
RATIOS = (8, 4, 2)  # stages 1 to 3: what the global half of the hybrid blocks reduces each side by
# Stages 1 to 3, guided blocks: (share of the sorted tokens, how many become one), least significant first.
RUNS = (
    ((1 / 4, 196), (1 / 2, 56), (1 / 4, 28)),
    ((1 / 4, 49), (1 / 2, 14), (1 / 4, 7)),
    ((1 / 2, 2), (1 / 2, 1)),
)


def to_map(x: Tensor, side: int) -> Tensor:
    """Lay tokens out on their square grid: (B, side*side, C) -> (B, C, side, side)."""
    return x.transpose(1, 2).reshape(-1, x.shape[-1], side, side)


def to_tokens(x: Tensor) -> Tensor:
    """Flatten a map row by row: (B, C, H, W) -> (B, H*W, C)."""
    return x.flatten(2).transpose(1, 2)


def to_windows(x: Tensor, side: int) -> Tensor:
    """Cut row-major tokens into 7x7 windows: (B, side*side, C) -> (B*nW, 49, C)."""
    n = side // WINDOW
    x = x.reshape(-1, n, WINDOW, n, WINDOW, x.shape[-1]).transpose(2, 3)  # (B, n, n, 7, 7, C)
    return x.reshape(-1, WINDOW**2, x.shape[-1])


def from_windows(x: Tensor, side: int) -> Tensor:
    """Undo `to_windows`: (B*nW, 49, C) -> (B, side*side, C)."""
    n = side // WINDOW
    x = x.reshape(-1, n, n, WINDOW, WINDOW, x.shape[-1]).transpose(2, 3)  # (B, n, 7, n, 7, C)
    return x.reshape(-1, side**2, x.shape[-1])


def to_column_major(x: Tensor, side: int) -> Tensor:
    """Reorder row-major tokens (B, side*side, ...) column by column."""
    return x.reshape(-1, side, side, *x.shape[2:]).transpose(1, 2).flatten(1, 2)


def sincos_position_table(dim: int, side: int) -> Tensor:
    """Make the 2-D sine-cosine table of MAE, (side*side, dim): sin and cos of the column, then of the row."""
    omega = 10000 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * omega
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # (side, dim / 2)
    table = torch.cat([wave.repeat(side, 1), wave.repeat_interleave(side, dim=0)], dim=1)
    return table.to(torch.get_default_dtype())


class ConvNorm(nn.Module):
    """Convolution without bias, then a GroupNorm of one group (officially named `bn`)."""

    def __init__(self, in_dim: int, dim: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.c = nn.Conv2d(in_dim, dim, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.GroupNorm(1, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.c(x))


class Stem(nn.Module):
    """Image (B, 3, S, S) -> tokens (B, S/4*S/4, C)."""

    def __init__(self, in_chans: int, dim: int):
        super().__init__()
        self.conv = nn.Sequential(
            ConvNorm(in_chans, dim, 3, stride=2),
            nn.GELU(),
            ConvNorm(dim, dim, 3),
            nn.GELU(),
            ConvNorm(dim, dim, 3, stride=2),
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(to_tokens(self.conv(x)))


class Downsample(nn.Module):
    """Map (B, C, H, W) -> tokens (B, H/2*W/2, C')."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.conv1 = ConvNorm(in_dim, dim, 1)
        self.conv2 = ConvNorm(dim, dim, 3, stride=2, groups=dim)
        self.conv3 = ConvNorm(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        return to_tokens(self.conv3(x))


class Attention(nn.Module):
    """What the three attentions share: heads, the local position term `lepe`, and the output projection.

    They are called as `attention(x, significance)` with tokens (B, N, C) and return the new tokens and the
    significance (B, N) for the next block; only the hybrid block makes one and only the guided block reads one.
    """

    def __init__(self, dim: int, num_heads: int, side: int, proj_drop: float):
        super().__init__()
        self.side = side
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.fused_attn = use_fused_attn()
        self.lepe_linear = nn.Linear(dim, dim)
        self.lepe_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, N, h*d) -> (B, h, N, d)."""
        return x.reshape(*x.shape[:2], -1, self.head_dim).transpose(1, 2)

    def attention_map(self, q: Tensor, k: Tensor) -> Tensor:
        """Softmax over the keys: q (B, h, N, d), k (B, h, T, d) -> (B, h, N, T)."""
        return (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, attn_drop: nn.Dropout) -> Tensor:
        """Attend with all heads: q (B, h, N, d), k and v (B, h, T, d) -> (B, N, h*d)."""
        if self.fused_attn:
            x = F.scaled_dot_product_attention(q, k, v, dropout_p=attn_drop.p if self.training else 0.0)
        else:
            x = attn_drop(self.attention_map(q, k)) @ v
        return x.transpose(1, 2).flatten(2)

    def project(self, out: Tensor, x: Tensor) -> Tensor:
        """Add lepe, made from the block's input `x`, to the heads' output and project; both (B, N, C)."""
        lepe = to_tokens(self.lepe_conv(to_map(self.lepe_linear(x), self.side)))
        return self.proj_drop(self.proj(out + lepe))


class HybridAttention(Attention):
    """Global attention over a strided convolution (first half of the heads) and 7x7 windows (second half).

    Always explicit, also where `fused_attn` is on: the significance needs the column means of both maps.
    """

    def __init__(self, dim: int, num_heads: int, side: int, ratio: int, attn_drop: float, proj_drop: float):
        super().__init__(dim, num_heads, side, proj_drop)
        self.ratio = ratio
        self.q1 = nn.Linear(dim, dim // 2)
        self.kv1 = nn.Linear(dim, dim)
        self.q2 = nn.Linear(dim, dim // 2)
        self.kv2 = nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, ratio, stride=ratio)
        self.norm = nn.LayerNorm(dim)
        self.global_attn_drop = nn.Dropout(attn_drop)
        self.local_attn_drop = nn.Dropout(attn_drop)

    def forward(self, x: Tensor, significance: None) -> tuple[Tensor, Tensor]:
        z = F.gelu(self.norm(to_tokens(self.sr(to_map(x, self.side)))))  # (B, Nk, C)
        q = self.split_heads(self.q1(x))
        k, v = map(self.split_heads, self.kv1(z).chunk(2, dim=-1))
        global_map = self.attention_map(q, k)  # (B, h/2, N, Nk)
        global_out = (self.global_attn_drop(global_map) @ v).transpose(1, 2).flatten(2)  # (B, N, C/2)

        q = self.split_heads(to_windows(self.q2(x), self.side))
        k, v = map(self.split_heads, to_windows(self.kv2(x), self.side).chunk(2, dim=-1))
        local_map = self.attention_map(q, k)  # (B*nW, h/2, 49, 49)
        local_out = (self.local_attn_drop(local_map) @ v).transpose(1, 2).flatten(2)
        local_out = from_windows(local_out, self.side)  # (B, N, C/2)

        out = self.project(torch.cat([global_out, local_out], dim=-1), x)
        return out, self.measure_significance(global_map.detach(), local_map.detach())

    def measure_significance(self, global_map: Tensor, local_map: Tensor) -> Tensor:
        """Sum what each token receives on average over heads and queries, globally and in its window: (B, N)."""
        wide = torch.promote_types(global_map.dtype, torch.float32)  # half precision would tie most tokens
        by_region = global_map.mean(dim=1, dtype=wide).mean(dim=1)  # (B, Nk)
        coarse = self.side // self.ratio
        by_region = by_region.reshape(-1, 1, coarse, coarse)
        by_region = F.interpolate(by_region, scale_factor=self.ratio, mode="nearest")  # (B, 1, side, side)
        by_window = local_map.mean(dim=1, dtype=wide).mean(dim=1)  # (B*nW, 49)
        return from_windows(by_window.unsqueeze(-1), self.side).squeeze(-1) + by_region.flatten(1)


class GuidedAttention(Attention):
    """Attention of all tokens to tokens merged by significance: few where it is low, many where it is high."""

    def __init__(self, dim: int, num_heads: int, side: int, runs, attn_drop: float, proj_drop: float):
        super().__init__(dim, num_heads, side, proj_drop)
        self.q = nn.Linear(dim, dim)
        self.kv1 = nn.Linear(dim, dim)
        self.kv2 = nn.Linear(dim, dim)
        self.part_sizes = [int(share * side**2) for share, _ in runs]
        for i, (_, run) in enumerate(runs, start=1):
            setattr(self, f"f{i}", nn.Linear(run, 1))
        self.attn_drop = nn.Dropout(attn_drop)

    def forward(self, x: Tensor, significance: Tensor) -> tuple[Tensor, None]:
        q = self.split_heads(self.q(x))
        # Without ties both merged sequences are equal. The official code makes them twice, and so does its count.
        rows = self.merge(x, significance)
        columns = self.merge(to_column_major(x, self.side), to_column_major(significance, self.side))
        k1, v1 = self.kv1(rows).chunk(2, dim=-1)  # (B, T, C/2): the first half of the heads
        k2, v2 = self.kv2(columns).chunk(2, dim=-1)  # (B, T, C/2): the second half
        k = self.split_heads(torch.cat([k1, k2], dim=-1))
        v = self.split_heads(torch.cat([v1, v2], dim=-1))
        return self.project(self.attend(q, k, v, self.attn_drop), x), None

    def reallocate(self, significance: Tensor) -> Tensor:
        """The index of the merged token that each token goes to, by significance (B, N): (B, N), row-major."""
        runs = [getattr(self, f"f{i}").in_features for i in range(1, len(self.part_sizes) + 1)]
        lengths = [run for run, size in zip(runs, self.part_sizes, strict=True) for _ in range(size // run)]
        device = significance.device
        by_rank = torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device))
        order = significance.sort(dim=1, stable=True).indices
        return torch.empty_like(order).scatter_(1, order, by_rank.expand_as(order))

    def merge(self, x: Tensor, significance: Tensor) -> Tensor:
        """Sort tokens (B, N, C) by significance (B, N), lowest first, and merge each run into one: (B, T, C)."""
        B, _, C = x.shape
        order = significance.sort(dim=1, stable=True).indices
        merged = []
        for i, part in enumerate(order.split(self.part_sizes, dim=1), start=1):
            weigh = getattr(self, f"f{i}")
            tokens = x.gather(1, part.unsqueeze(-1).repeat(1, 1, C))  # (B, n, C), in order of rank
            runs = tokens.transpose(1, 2).reshape(B, C, -1, weigh.in_features)  # (B, C, t, n/t)
            merged.append(weigh(runs).squeeze(-1))  # (B, C, t)
        return torch.cat(merged, dim=2).transpose(1, 2)


class PlainAttention(Attention):
    """Attention of all tokens to all tokens."""

    def __init__(self, dim: int, num_heads: int, side: int, attn_drop: float, proj_drop: float):
        super().__init__(dim, num_heads, side, proj_drop)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.attn_drop = nn.Dropout(attn_drop)

    def forward(self, x: Tensor, significance: None) -> tuple[Tensor, None]:
        q = self.split_heads(self.q(x))
        k, v = map(self.split_heads, self.kv(x).chunk(2, dim=-1))
        return self.project(self.attend(q, k, v, self.attn_drop), x), None


class DepthwiseConv(nn.Module):
    """3x3 depthwise convolution of tokens on their grid (a module of its own for the official name)."""

    def __init__(self, dim: int, side: int):
        super().__init__()
        self.side = side
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return to_tokens(self.dwconv(to_map(x, self.side)))


class Mlp(nn.Module):
    """MLP with a depthwise convolution added before the activation."""

    def __init__(self, dim: int, hidden_dim: int, side: int, drop: float):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.dwconv = DepthwiseConv(hidden_dim, side)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        x = self.drop(F.gelu(x + self.dwconv(x)))
        return self.drop(self.fc2(x))


class Block(nn.Module):
    """Attention and MLP, each with its norm before and a residual around."""

    def __init__(self, dim: int, attn: Attention, mlp: Mlp, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, significance: Tensor | None) -> tuple[Tensor, Tensor | None]:
        out, significance = self.attn(self.norm1(x), significance)
        x = x + self.drop_path(out)
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x, significance


class SGFormer(nn.Module):
    """SG-Former, see the head of this file. `impl="reference"` is the official data flow; "auto" means the same."""

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        embed_dims: tuple[int, ...] = (64, 128, 256, 512),
        num_heads: tuple[int, ...] = (2, 4, 8, 16),
        depths: tuple[int, ...] = (2, 4, 16, 1),
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        impl: str = "auto",
    ):
        super().__init__()
        if impl not in IMPLS:
            raise ValueError(f"SG-Former has no impl={impl!r}. Use one of: {', '.join(IMPLS)}.")
        self.impl = "reference" if impl == "auto" else impl
        self.img_size = check_img_size(img_size)
        self.num_features = self.head_hidden_size = embed_dims[-1]
        self.num_stages = len(depths)
        self.grad_checkpointing = False

        side = self.img_size[0] // 4
        self.pos_embed = nn.Parameter(sincos_position_table(embed_dims[0], side)[None])
        self.feature_info = []
        drop_paths = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        for i, (dim, heads, depth) in enumerate(zip(embed_dims, num_heads, depths, strict=True)):
            if i < len(RUNS):
                kinds = [partial(HybridAttention, ratio=RATIOS[i]), partial(GuidedAttention, runs=RUNS[i])]
            else:
                kinds = [PlainAttention]
            blocks = [
                Block(
                    dim,
                    attn=kinds[j % len(kinds)](dim, heads, side, attn_drop=attn_drop_rate, proj_drop=proj_drop_rate),
                    mlp=Mlp(dim, int(dim * mlp_ratio), side, proj_drop_rate),
                    drop_path=next(drop_paths),
                )
                for j in range(depth)
            ]
            setattr(self, f"patch_embed{i + 1}", Stem(in_chans, dim) if i == 0 else Downsample(embed_dims[i - 1], dim))
            setattr(self, f"block{i + 1}", nn.ModuleList(blocks))
            setattr(self, f"norm{i + 1}", nn.LayerNorm(dim, eps=1e-6))
            self.feature_info.append({"num_chs": dim, "reduction": 4 * 2**i, "module": f"norm{i + 1}"})
            side //= 2

        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)
        self.apply(_init_weights)

    def forward_stage(self, x: Tensor, stage: int) -> Tensor:
        """Run stage 1, 2, 3 or 4: the image or the previous stage's map -> map (B, C, H, W), after the stage's norm."""
        x = getattr(self, f"patch_embed{stage}")(x)
        if stage == 1:
            x = x + self.pos_embed
        significance = None
        for block in getattr(self, f"block{stage}"):
            if self.grad_checkpointing:
                x, significance = checkpoint(block, x, significance)
            else:
                x, significance = block(x, significance)
        x = getattr(self, f"norm{stage}")(x)
        return to_map(x, self.img_size[0] // (2 * 2**stage))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps of the stages in `indices` (the last n if int, all if None), and the final map before them.

        Every map has passed its stage's norm, which the next stage reads too: `norm` changes nothing.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"SG-Former gives its maps as NCHW, not as {output_fmt!r}.")
        if tuple(x.shape[-2:]) != self.img_size:
            size, got = ("x".join(map(str, hw)) for hw in (self.img_size, x.shape[-2:]))
            raise ValueError(
                f"This SG-Former was built for {size} images, got {got}. Give img_size to the constructor."
            )
        take_indices, max_index = feature_take_indices(self.num_stages, indices)
        intermediates = []
        for i in range(max_index + 1 if stop_early else self.num_stages):
            x = self.forward_stage(x, i + 1)
            if i in take_indices:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ):
        """Remove what the maps in `indices` don't need: later stages and, with them or if asked to, the classifier."""
        take_indices, max_index = feature_take_indices(self.num_stages, indices)
        for stage in range(max_index + 2, self.num_stages + 1):
            for name in ("patch_embed", "block", "norm"):
                delattr(self, f"{name}{stage}")
        if prune_head or max_index + 1 < self.num_stages:
            self.reset_classifier(0, "")
        self.num_stages = max_index + 1
        self.num_features = self.head_hidden_size = self.feature_info[max_index]["num_chs"]
        return take_indices

    def forward_features(self, x: Tensor) -> Tensor:
        """Image (B, 3, S, S) -> the last stage's map (B, C, S/32, S/32)."""
        return self.forward_intermediates(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map (B, C, H, W) -> logits (B, num_classes), or what the classifier reads if `pre_logits`."""
        if self.global_pool == "avg":
            x = x.mean(dim=(2, 3))
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    @torch.no_grad()
    def reallocation(self, images: Tensor) -> list[dict[str, Any]]:
        """What the guided blocks make of images (B, 3, S, S): of each its `name`, the `significance` (B, H, W) that its
        tokens are sorted by, and `token` (B, H, W), the index of the merged token that each of them goes to."""
        found: list[dict[str, Any]] = []

        def note(name: str, attn: GuidedAttention, inputs: tuple[Tensor, Tensor]) -> None:
            grid = (-1, attn.side, attn.side)
            maps = {"significance": inputs[1], "token": attn.reallocate(inputs[1])}
            found.append({"name": name, **{key: one.reshape(grid) for key, one in maps.items()}})

        guided = [(name, module) for name, module in self.named_modules() if isinstance(module, GuidedAttention)]
        hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in guided]
        try:
            self.forward_features(images)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None):
        """Put a new linear classifier, or none if `num_classes` is 0; `global_pool` "avg", or "" to keep the map."""
        global_pool = self.global_pool if global_pool is None else global_pool
        if global_pool not in ("avg", "") or (num_classes > 0 and not global_pool):
            raise ValueError(
                f"SG-Former's global_pool is 'avg', or '' with num_classes=0; got {global_pool!r} with {num_classes}."
            )
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.head = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()
        self.head.to(self.pos_embed)  # device and dtype

    def set_grad_checkpointing(self, enable: bool = True):
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Nothing: the names on the official list exist in no variant, so the position table was decayed too."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict:
        """Group parameters by depth: by stage if `coarse`, else by block (norms go with the block before)."""
        by_stage = r"^(?:patch_embed|block|norm)(\d)"
        by_block = [(r"^patch_embed(\d)", (0,)), (r"^block(\d)\.(\d+)", None), (r"^norm(\d)", (99999,))]
        return {"stem": r"^pos_embed|^patch_embed1", "blocks": by_stage if coarse else by_block}


def check_img_size(img_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return the size as (height, width); refuse those that the windows and runs don't divide."""
    height, width = to_2tuple(img_size)
    if height != width or height <= 0 or height % MULTIPLE:
        below = max(height, width, MULTIPLE) // MULTIPLE * MULTIPLE
        raise ValueError(
            f"SG-Former takes square images whose side is a multiple of {MULTIPLE} ({WINDOW}x{WINDOW} windows at "
            f"strides 4 to 32), got {height}x{width}. Use a side of {below} or {below + MULTIPLE}."
        )
    return height, width


def _init_weights(module: nn.Module):
    """Draw initial weights as the official code does; norms keep torch's ones and zeros."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        fan_out = height * width * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Resize the position table of an official state dict to the model's image size; all names are already ours."""
    table = state_dict["pos_embed"]  # (1, N, C)
    tokens, new_tokens = table.shape[1], model.pos_embed.shape[1]
    if tokens == new_tokens:
        return state_dict
    side, new_side = isqrt(tokens), isqrt(new_tokens)
    if side**2 != tokens:
        raise ValueError(f"SG-Former's pos_embed must cover a square grid, the checkpoint's has {tokens} tokens.")
    grid = to_map(table, side).to(torch.promote_types(table.dtype, torch.float32))
    grid = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", align_corners=False, antialias=False)
    return {**state_dict, "pos_embed": to_tokens(grid).to(table.dtype)}


CFG = PretrainedCfg(
    num_classes=1000,
    input_size=(3, 224, 224),
    fixed_input_size=True,
    pool_size=(7, 7),
    crop_pct=0.9,
    interpolation="bicubic",
    mean=IMAGENET_DEFAULT_MEAN,
    std=IMAGENET_DEFAULT_STD,
    first_conv="patch_embed1.conv.0.c",
    classifier="head",
    paper_name="SG-Former: Self-guided Transformer with Evolving Token Reallocation",
    paper_ids="arXiv:2308.12216",
    origin_url="https://github.com/OliverRensu/SG-Former",
)
default_cfgs = generate_default_cfgs({"sgformer_s": CFG, "sgformer_m": CFG, "sgformer_b": CFG})


def _create(variant: str, pretrained: bool, kwargs: dict) -> SGFormer:
    return build_model_with_cfg(
        SGFormer,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
        **kwargs,
    )


# The paper's Table 2, as other papers quote it, has 23 M and 4.8 GMACs (S), 39 M and 7.5 G (M), 78 M and 15.6 G (B).


@register_model
def sgformer_s(pretrained: bool = False, **kwargs) -> SGFormer:
    """SG-Former-S: 22.5 M parameters, 4.82 GMACs at 224. The official training has drop_path_rate=0.1."""
    row = {"embed_dims": (64, 128, 256, 512), "num_heads": (2, 4, 8, 16), "depths": (2, 4, 16, 1)}
    return _create("sgformer_s", pretrained, row | kwargs)


@register_model
def sgformer_m(pretrained: bool = False, **kwargs) -> SGFormer:
    """SG-Former-M: 38.7 M parameters, 7.47 GMACs at 224. The official training has drop_path_rate=0.2."""
    row = {"embed_dims": (64, 128, 256, 512), "num_heads": (2, 4, 8, 16), "depths": (2, 6, 28, 2)}
    return _create("sgformer_m", pretrained, row | kwargs)


@register_model
def sgformer_b(pretrained: bool = False, **kwargs) -> SGFormer:
    """SG-Former-B: 78.0 M parameters, 15.61 GMACs at 224. The official training has drop_path_rate=0.4."""
    row = {"embed_dims": (96, 192, 384, 768), "num_heads": (4, 6, 12, 24), "depths": (4, 6, 24, 2)}
    return _create("sgformer_b", pretrained, row | kwargs)
