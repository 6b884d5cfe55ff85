"""Swin on visible tokens: the encoder of GreenMIM.

    images (B, 3, H, W) -> patch embedding, norm (B, H/4 · W/4, C) -> visible tokens (R, 64 cells, C)
    stage 1: windows on a grid of stride 4, C         -> merging
    stage 2:                      stride 8, 2C        -> merging
    stage 3:                      stride 16, 4C       -> merging
    stage 4:                      stride 32, 8C       -> norm (R, cells, 8C)

R rows: one an image where all share a mask, else one for all images (`models.greenmim.plan`).
"""

from collections.abc import Sequence

from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.greenmim.encoder import NORM, Block, Encoder
from models.greenmim.layouts import Layout
from models.greenmim.plan import Plan
from models.masked.options import CELL


class Merging(nn.Module):
    """Four tokens of a 2 x 2 square become one of twice the width."""

    def __init__(self, dim: int):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = NORM(4 * dim)

    def forward(self, x: Tensor, squares: Tensor) -> Tensor:
        """(R, N, C) -> (R, N/4, 2C). squares: (N/4, 4) tokens, row-major; Swin reads them column by column."""
        columns = squares.unflatten(1, (2, 2)).transpose(1, 2).flatten()
        x = x.index_select(1, columns).unflatten(1, (-1, 4)).flatten(2)
        return self.reduction(self.norm(x))


class Stage(nn.Module):
    """Blocks on one grid, odd ones shifted, and the merging behind them."""

    def __init__(self, dim: int, depth: int, num_heads: int, window: int, last: bool):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, num_heads, window) for _ in range(depth))
        self.downsample = None if last else Merging(dim)

    def forward(self, x: Tensor, layouts: Sequence[Layout], squares: Tensor | None, checkpointing: bool) -> Tensor:
        for i, block in enumerate(self.blocks):
            own = layouts[i % len(layouts)]
            x = checkpoint(block, x, own, use_reentrant=False) if checkpointing else block(x, own)
        return x if self.downsample is None else self.downsample(x, squares)


class Swin(Encoder):
    """The encoder; further arguments as of timm's Swin."""

    shifted = True

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
        self.patch_embed = PatchEmbed(CELL * cells, 4, in_chans, embed_dim, norm_layer=NORM)
        rows = zip(self.widths, depths, num_heads, self.windows, strict=True)
        self.layers = nn.ModuleList(
            Stage(width, depth, heads, own, last=stage == len(depths) - 1)
            for stage, (width, depth, heads, own) in enumerate(rows)
        )
        self.norm = NORM(self.widths[-1])

    def forward(self, images: Tensor, plan: Plan, rows: int) -> Tensor:
        """(B, in_chans, H, W) -> (rows, visible cells, 8C)."""
        x = self.patch_embed(images)
        x = x.reshape(rows, -1, x.shape[-1]).index_select(1, plan["visible"])
        for number, stage in enumerate(self.layers):
            x = stage(x, self.layouts(plan, number, x), plan["stages"][number]["merge"], self.grad_checkpointing)
        return self.norm(x)
