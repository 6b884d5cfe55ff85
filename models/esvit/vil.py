"""ViL (Vision Longformer) as EsViT has it: tokens attend to the nine blocks around them and to a class token.

    image (B, 3, S, S) -> patches of 4, norm, class token (B, 1 + N, C)
    stage 1: sparse attention on a grid of stride 4   -> map without the class token, patches of 2, norm, a new one
    stage 2: sparse                       stride 8    -> likewise
    stage 3: full                         stride 16   -> patches of 2, norm
    stage 4: full, no class token         stride 32   -> norm

Sparse: the grid is cut into blocks of 7x7 tokens, and a block attends to itself and the eight around it; in training to
itself and one of the eight, drawn for each layer and pass. The class token attends to all tokens, and all to it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, calculate_drop_path_rates, use_fused_attn
from timm.models.swin_transformer import get_relative_position_index
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from models.esvit.multistage import MultiStage, Output, draw_weights
from models.esvit.neighbourhoods import OFFSETS, around, from_blocks, neighbour_index, outside, to_blocks

# The model of the paper's table 4, officially written (spec, section 3)
# l1,h3,d96,n2,s1,g1,p4,f7,a0_l2,h6,d192,n2,s1,g1,p2,f7,a0_l3,h12,d384,n6,s0,g1,p2,f7,a0_l4,h24,d768,n2,s0,g0,p2,f7,a0
VIL_2262 = dict(
    embed_dims=(96, 192, 384, 768),
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    sparse=(True, True, False, False),
    global_tokens=(1, 1, 1, 0),
    window=7,
)

GRID = 56  # tokens along a side of the first stage at 224 px, which fixes the biases of full attention
NORM_EPS = 1e-6
INF = float("inf")


class Attention(nn.Module):
    """What sparse and full attention share. Tokens are g global ones, then the local ones row by row. Biases are by
    relative position between local tokens, and one number a head between a global token and any other."""

    def __init__(self, dim: int, num_heads: int, global_tokens: int, offsets: int, impl: str):
        """offsets: how many the relative positions have along a side."""
        super().__init__()
        self.num_heads = num_heads
        self.global_tokens = global_tokens
        self.scale = (dim // num_heads) ** -0.5
        self.impl = impl
        self.fused_attn = impl == "fast" and bool(use_fused_attn())
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)
        biases = {"local_relative_position_bias_table": (offsets**2, num_heads)}
        if global_tokens:
            biases["g2l_relative_position_bias"] = (2, num_heads, global_tokens)  # [0]: a global query's; [1]: key's
            biases["g2g_relative_position_bias"] = (num_heads, global_tokens, global_tokens)
        for name, shape in biases.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
            nn.init.trunc_normal_(self.get_parameter(name), std=0.02)  # assumed: the specification doesn't say

    def of_local_queries(self, bias: Tensor) -> Tensor:
        """Put the biases of global keys before those of local ones: (heads, queries, g + keys)."""
        if not self.global_tokens:
            return bias
        return torch.cat([self.g2l_relative_position_bias[1, :, None].expand(-1, bias.shape[1], -1), bias], dim=-1)

    def of_global_queries(self, keys: int) -> Tensor:
        """(heads, g, g + keys), for so many local ones."""
        columns = self.g2l_relative_position_bias[0, :, :, None].expand(-1, -1, keys)
        return torch.cat([self.g2g_relative_position_bias, columns], dim=-1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """q, k, v (B, ..., heads, tokens, d), where ... are blocks, and bias (..., heads, queries, keys) -> as q."""
        if self.fused_attn:  # blocks become heads, so that no image has a copy of the bias
            rows = (x.flatten(1, -3) for x in (q, k, v))
            out = F.scaled_dot_product_attention(*rows, attn_mask=bias.flatten(0, -3)[None])
            return out.unflatten(1, q.shape[1:-2])
        return self.weights(q * self.scale @ k.transpose(-2, -1) + bias) @ v

    def weights(self, logits: Tensor) -> Tensor:
        """Softmax, which `attn_drop` is given as (windows, heads, queries, keys)."""
        if self.impl == "reference":  # as officially, though softmax does it too
            logits = logits - logits.amax(dim=-1, keepdim=True)
        return self.attn_drop(logits.flatten(0, -4).softmax(dim=-1)).view(logits.shape)


class SparseAttention(Attention):
    """Local tokens attend to the blocks around their own and to the global tokens, these to all."""

    def __init__(self, dim: int, num_heads: int, global_tokens: int, window: int, impl: str):
        super().__init__(dim, num_heads, global_tokens, 4 * window - 1, impl)
        self.window = window
        self.query = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.register_buffer("relative_position_index", neighbour_index(window), persistent=False)

    def forward(
        self, x: Tensor, grid: tuple[int, int], neighbour: int | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """(B, g + h · w, C), of the grid (h, w).

        neighbour: attend to one's own block and this one, 1 to 8 of OFFSETS; all nine if None. mask: what `outside`
        says, which is asked here if not given.
        """
        numbers = list(range(len(OFFSETS))) if neighbour is None else [0, neighbour]
        mask = outside(grid, self.window, x.device) if mask is None else mask
        mask = F.pad(mask[:, :, numbers].flatten(2), (self.global_tokens, 0))[:, :, None, None]  # no global key
        bias = self.local_relative_position_bias_table[self.relative_position_index[:, numbers].flatten(1)]
        bias = self.of_local_queries(bias.permute(2, 0, 1))
        route = self.rolled if self.impl == "reference" else self.gathered
        return self.proj(route(x, grid, numbers, bias, mask))

    def heads(self, x: Tensor) -> Tensor:
        """(B, tokens, C) -> (B, heads, tokens, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def gathered(self, x: Tensor, grid: tuple[int, int], numbers: list[int], bias: Tensor, mask: Tensor) -> Tensor:
        """Keys and values are computed once, and all of a block's lie in one tensor.

        bias: (heads, window², keys); mask: (rows, columns, 1, 1, keys).
        """
        tokens = [self.global_tokens, grid[0] * grid[1]]
        q_global, q = self.heads(self.query(x)).split(tokens, dim=-2)
        kv_all = self.kv(x).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (2, B, heads, g + N, d)
        kv_global, kv = kv_all.split(tokens, dim=-2)

        q = to_blocks(q, grid, self.window)  # (B, rows, columns, heads, window², d)
        kv = around(to_blocks(kv, grid, self.window, border=1), 2, numbers)
        kv_global = kv_global[:, :, None, None].expand(-1, -1, *q.shape[1:3], -1, -1, -1)
        bias = bias.masked_fill(mask, -INF)  # (rows, columns, heads, window², keys)
        local = from_blocks(self.attend(q, *torch.cat([kv_global, *kv], dim=-2), bias), grid, self.window)
        if not self.global_tokens:
            return local
        return torch.cat([self.global_rows(q_global, *kv_all), local], dim=1)

    def rolled(self, x: Tensor, grid: tuple[int, int], numbers: list[int], bias: Tensor, mask: Tensor) -> Tensor:
        """The official data flow: blocks of keys are rolled past the queries, one offset after the other, and those of
        the global queries are computed apart. Arguments as of `gathered`."""
        g = self.global_tokens
        q = to_blocks(self.heads(self.query(x[:, g:])) * self.scale, grid, self.window)
        k, v = (self.heads(y) for y in self.kv(x).chunk(2, dim=-1))
        k_global, v_global = (y[:, None, None, :, :g] for y in (k, v))
        k, v = (to_blocks(y[:, :, g:], grid, self.window) for y in (k, v))  # (B, rows, columns, heads, window², d)

        steps = [(-dy, -dx) for dy, dx in (OFFSETS[number] for number in numbers)]
        scores = [q @ y.transpose(-2, -1) for y in (k_global, *(k.roll(step, (1, 2)) for step in steps))]
        stored = torch.zeros_like(mask, dtype=bias.dtype).masked_fill(mask, -INF)
        weights = self.weights(torch.cat(scores, dim=-1) + bias + stored)
        shares = weights.split([g, *[self.window**2] * len(steps)], dim=-1)
        local = torch.einsum("...qk,...kd->...qd", shares[0], v_global)  # of one key a pointwise product: no FLOPs
        for share, step in zip(shares[1:], steps, strict=True):
            local = local + share @ v.roll(step, (1, 2))
        local = from_blocks(local, grid, self.window)
        if not g:
            return local
        kv = (self.heads(y) for y in self.kv(x).chunk(2, dim=-1))
        return torch.cat([self.global_rows(self.heads(self.query(x[:, :g])), *kv), local], dim=1)

    def global_rows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Global queries (B, heads, g, d), and keys and values of all tokens -> (B, g, C)."""
        bias = self.of_global_queries(k.shape[-2] - self.global_tokens)
        return self.attend(q, k, v, bias).transpose(1, 2).flatten(2)


class FullAttention(Attention):
    """All tokens attend to all."""

    def __init__(self, dim: int, num_heads: int, global_tokens: int, side: int, impl: str):
        """side: local tokens along a side at 224 px; biases are resized to other grids."""
        super().__init__(dim, num_heads, global_tokens, 2 * side - 1, impl)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.register_buffer("relative_position_index", get_relative_position_index(side, side), persistent=False)

    def bias(self, tokens: int) -> Tensor:
        """(heads, g + tokens, g + tokens), for so many local ones on a square grid."""
        local = self.local_relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if tokens != local.shape[-1]:  # by number of token, as officially, and not by relative position
            local = F.interpolate(local[None], size=(tokens, tokens), mode="bicubic", align_corners=False)[0]
        local = self.of_local_queries(local)
        return torch.cat([self.of_global_queries(tokens), local], dim=1) if self.global_tokens else local

    def forward(self, x: Tensor) -> Tensor:
        """(B, g + N, C)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = self.attend(q, k, v, self.bias(x.shape[1] - self.global_tokens))
        return self.proj(out.transpose(1, 2).flatten(2))


class PatchEmbed(nn.Module):
    """Entry of a stage: patches become tokens, behind the stage's own global ones."""

    def __init__(self, in_chans: int, dim: int, patch: int, global_tokens: int):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_chans, dim, patch, patch)
        self.norm_embed = nn.LayerNorm(dim, eps=NORM_EPS)
        self.cls_token = nn.Parameter(torch.zeros(1, global_tokens, dim)) if global_tokens else None
        if global_tokens:
            nn.init.trunc_normal_(self.cls_token, std=0.02)  # assumed, as of the biases

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, g + H/patch · W/patch, C)."""
        x = self.norm_embed(self.proj(x).flatten(2).transpose(1, 2))
        return x if self.cls_token is None else torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)


class Residual(nn.Module):
    """x + drop_path(function(norm(x))), where the function is registered as `name`, `attn` or `mlp`."""

    def __init__(self, dim: int, drop_path: float, name: str, function: nn.Module):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.name = name
        self.add_module(name, function)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, *arguments) -> Tensor:
        return x + self.drop_path(getattr(self, self.name)(self.norm(x), *arguments))


class ViL(MultiStage):
    """Arguments: those of MultiStage, and for each stage

    embed_dims, depths (in pairs of attention and MLP), num_heads, sparse (whether its attention is), global_tokens;
    window: tokens along a side of a block of sparse attention.
    """

    multiple = 32

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        sparse: Sequence[bool],
        global_tokens: Sequence[int],
        window: int = 7,
        drop_path_rate: float = 0.0,
        **words: Any,
    ):
        super().__init__(embed_dims, **words)
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        before = self.in_chans
        for number, row in enumerate(zip(embed_dims, num_heads, sparse, global_tokens, rates, strict=True)):
            dim, heads, is_sparse, tokens, stage_rates = row
            layers: list[nn.Module] = [PatchEmbed(before, dim, 2 if number else 4, tokens)]
            for rate in stage_rates:
                attention: Attention = (
                    SparseAttention(dim, heads, tokens, window, self.impl)
                    if is_sparse
                    else FullAttention(dim, heads, tokens, GRID // 2**number, self.impl)
                )
                layers += [Residual(dim, rate, "attn", attention), Residual(dim, rate, "mlp", Mlp(dim, 4 * dim))]
            self.add_module(f"layer{number + 1}", nn.ModuleList(layers))
            before = dim
        self.norm = nn.LayerNorm(before, eps=NORM_EPS)
        self.apply(draw_weights)

    @property
    def sparse_layers(self) -> int:
        """How many neighbours a pass in training needs."""
        return sum(isinstance(module, SparseAttention) for module in self.modules())

    def idle_parameters(self) -> set[str]:
        """Parameters on which no output depends: a class token ends with its stage, and what its last attention adds to
        it is read by nothing; the bias between global tokens is all that it alone has."""
        stages = [self.get_submodule(f"layer{stage + 1}") for stage in range(self.num_stages)]
        return {
            f"layer{number}.{len(layers) - 2}.attn.g2g_relative_position_bias"
            for number, layers in enumerate(stages, 1)
            if layers[0].cls_token is not None
        }

    def check(self, images: Tensor) -> None:
        """Raise ValueError on images that the stages don't divide, or that aren't square."""
        super().check(images)
        if images.shape[2] != images.shape[3]:
            raise ValueError(
                f"ViL takes square images, to whose size it fits the biases of its full attention, got "
                f"{images.shape[2]}x{images.shape[3]} px. Crop them."
            )

    def blocks(self, images: Tensor, neighbours: Sequence[int] | None = None) -> Iterator[Output]:
        """After each pair of attention and MLP.

        neighbours: to which of OFFSETS, 1 to 8, the blocks of each sparse attention attend beside themselves. If None,
        to all in eval mode, and in training to one that is drawn from PyTorch's CPU generator. Raises ValueError on
        other numbers, or too few or many.
        """
        self.check(images)
        numbers = iter(self.attended(neighbours))
        maps = images
        for stage in range(self.num_stages):
            entry, *layers = self.get_submodule(f"layer{stage + 1}")
            x = entry(maps)
            grid = (maps.shape[2] // entry.patch, maps.shape[3] // entry.patch)
            tokens = x.shape[1] - grid[0] * grid[1]
            is_sparse = isinstance(layers[0].attn, SparseAttention)
            mask = outside(grid, layers[0].attn.window, x.device) if is_sparse and self.impl == "fast" else None
            for attention, mlp in zip(layers[::2], layers[1::2], strict=True):
                x = self.call(attention, x, grid, next(numbers), mask) if is_sparse else self.call(attention, x)
                x = self.call(mlp, x)
                local = x[:, tokens:].unflatten(1, grid)
                yield Output(stage, local, x[:, 0] if tokens else None)
            maps = local.permute(0, 3, 1, 2)

    def attended(self, neighbours: Sequence[int] | None) -> Sequence[int | None]:
        """The neighbour of each sparse attention, None for all; see `blocks`."""
        needed, most = self.sparse_layers, len(OFFSETS) - 1
        if neighbours is None:
            return draw(needed) if self.training else [None] * needed
        if len(neighbours) != needed or not all(isinstance(one, int) and 1 <= one <= most for one in neighbours):
            raise ValueError(
                f"ViL has {needed} layers of sparse attention, got neighbours={list(neighbours)}. Give each a number "
                f"from 1 to {most}."
            )
        return neighbours

    def keep_stages(self, number: int) -> None:
        for stage in range(number, self.num_stages):
            delattr(self, f"layer{stage + 1}")


def draw(number: int) -> list[int]:
    """So many neighbours, each one of eight."""
    drawn = torch.randint(1, len(OFFSETS), (number,), device="cpu")
    return [1] * number if isinstance(drawn, FakeTensor) else drawn.tolist()  # fake: all cost the same
