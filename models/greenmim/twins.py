"""Twins-SVT on visible tokens: GreenMIM's other encoder.

    stage s: patch embedding, norm -> block (window attention) -> depthwise 3x3 on the grid -> block (global attention)
             -> window, global, ... by turns

Strides and widths are Swin's. Windows have no relative position biases and are never shifted. Global attention has one
key a cell: its tokens, reduced by a convolution whose stride is its kernel.
"""

from collections.abc import Sequence
from math import prod

from timm.layers import Mlp, PatchEmbed
from torch import Tensor, empty, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from models.greenmim.encoder import MLP_RATIO, NORM, Block, Encoder
from models.greenmim.plan import Mask, Plan, squares, visible
from models.masked.options import CELL, FACTORS


class Reduce(nn.Module):
    """Convolution whose stride is its kernel, on the tokens of complete squares. The weight lies as spconv's does."""

    def __init__(self, dim: int, out_dim: int, side: int):
        super().__init__()
        self.weight = nn.Parameter(empty(out_dim, side, side, dim))  # (out, down, right, in)
        self.bias = nn.Parameter(empty(out_dim))
        bound = prod(self.weight.shape[1:]) ** -0.5  # PyTorch's default for convolutions
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, squares: Tensor) -> Tensor:
        """(R, N, C) -> (R, squares, out). squares: (squares, side²) tokens, row-major."""
        return linear(x[:, squares].flatten(2), self.weight.flatten(1), self.bias)


class SparsePatchEmbed(nn.Module):
    """Patch embedding of visible tokens."""

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.proj = Reduce(dim, out_dim, 2)
        self.norm = NORM(out_dim)

    def forward(self, x: Tensor, squares: Tensor) -> Tensor:
        return self.norm(self.proj(x, squares))


class PositionBlock(nn.Module):
    """Depthwise 3x3 convolution on the dense grid, removed positions zero. It replaces the tokens: the released code
    doesn't add its input."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim))

    def forward(self, x: Tensor, seen: Tensor, batch: int, side: int) -> Tensor:
        """(R, N, C) -> (R, N, C). seen: (N,) positions of the tokens in the grids of all images of a row."""
        rows, _, dim = x.shape
        grids = x.new_zeros(rows, batch // rows * side**2, dim).index_copy(1, seen, x)
        grids = self.proj(grids.view(batch, side, side, dim).permute(0, 3, 1, 2))
        return grids.permute(0, 2, 3, 1).reshape(rows, -1, dim).index_select(1, seen)


class GlobalAttention(nn.Module):
    """Every visible token attends to the visible cells of its image. cell: tokens along a cell's side."""

    def __init__(self, dim: int, num_heads: int, cell: int):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.attn_drop = nn.Identity()  # every map passes it
        self.proj = nn.Linear(dim, dim)
        if cell > 1:
            self.sr = Reduce(dim, dim, cell)
            self.norm = NORM(dim)

    def forward(self, x: Tensor, cell: Tensor | None, batch: int) -> Tensor:
        """(R, N, C) -> (R, N, C). cell: (cells, tokens of each), None where a token is one."""
        shape, dim = x.shape, x.shape[-1]
        reduced = x if cell is None else self.norm(self.sr(x, cell))
        q = self._heads(self.q(x), batch)
        k, v = (self._heads(one, batch) for one in self.kv(reduced).split(dim, dim=-1))
        maps = self.attn_drop((q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1))
        return self.proj((maps @ v).transpose(1, 2).reshape(shape))

    def _heads(self, x: Tensor, batch: int) -> Tensor:
        """(R, N, C) -> (batch, heads, tokens, channels of a head)."""
        return x.reshape(batch, -1, self.num_heads, x.shape[-1] // self.num_heads).transpose(1, 2)


class GlobalBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, num_heads: int, cell: int):
        super().__init__()
        self.norm1 = NORM(dim)
        self.norm2 = NORM(dim)
        self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.attn = GlobalAttention(dim, num_heads, cell)

    def forward(self, x: Tensor, cell: Tensor | None, batch: int) -> Tensor:
        """(R, N, C) -> (R, N, C)."""
        x = x + self.attn(self.norm1(x), cell, batch)
        return x + self.mlp(self.norm2(x))


class Twins(Encoder):
    """The encoder."""

    window_blocks = 2

    def __init__(
        self,
        cells: int,
        window: int,
        in_chans: int,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        impl: str,
        grouping: str,
    ):
        super().__init__(cells, window, embed_dim, depths, impl, grouping)
        first = PatchEmbed(CELL * cells, 4, in_chans, embed_dim, norm_layer=NORM)
        others = (SparsePatchEmbed(width, 2 * width) for width in self.widths[:-1])
        self.patch_embeds = nn.ModuleList([first, *others])
        self.blocks = nn.ModuleList(
            nn.ModuleList(GlobalBlock(width, heads, cell) if i % 2 else Block(width, heads) for i in range(depth))
            for width, depth, heads, cell in zip(self.widths, depths, num_heads, FACTORS, strict=True)
        )
        self.pos_block = nn.ModuleList(PositionBlock(width) for width in self.widths)
        self.norm = NORM(self.widths[-1])

    def plan(self, removed: Mask) -> Plan:
        """As of any encoder, and for each stage the places of its `visible` tokens and the tokens of each `cell`, None
        where a token is one."""
        plan = super().plan(removed)
        for stage, factor in zip(plan["stages"], FACTORS, strict=True):
            stage["visible"] = visible(removed, factor)
            stage["cell"] = squares(removed, factor, factor) if factor > 1 else None
        return plan

    def forward(self, images: Tensor, plan: Plan, rows: int) -> Tensor:
        """(B, in_chans, H, W) -> (rows, visible cells, 8C)."""
        batch, stages = len(images), plan["stages"]
        x = self.patch_embeds[0](images)
        x = x.reshape(rows, -1, x.shape[-1]).index_select(1, plan["visible"])
        for stage, own in enumerate(stages):
            if stage > 0:
                x = self.patch_embeds[stage](x, stages[stage - 1]["merge"])
            [windows] = self.layouts(plan, stage, x)
            for i, block in enumerate(self.blocks[stage]):
                words = (own["cell"], batch) if i % 2 else (windows,)
                x = checkpoint(block, x, *words, use_reentrant=False) if self.grad_checkpointing else block(x, *words)
                if i == 0:
                    x = self.pos_block[stage](x, own["visible"], batch, self.sides[stage])
        return self.norm(x)
