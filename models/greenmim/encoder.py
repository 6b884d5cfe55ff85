"""What GreenMIM's encoders have in common: four stages of windows on visible tokens, and their plans."""

from collections.abc import Iterator, Sequence
from functools import partial

from timm.layers import Mlp, trunc_normal_
from torch import Tensor, nn, zeros

from models.greenmim.layouts import LAYOUTS, Layout
from models.greenmim.plan import Mask, Plan, layout, squares, visible
from models.masked.options import FACTORS

NORM = partial(nn.LayerNorm, eps=1e-6)
MLP_RATIO = 4


class Attention(nn.Module):
    """Window attention, with relative position biases where there is a `window` to have a table for."""

    def __init__(self, dim: int, num_heads: int, window: int | None = None):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.relative_position_bias_table = None
        if window is not None:
            self.relative_position_bias_table = nn.Parameter(zeros((2 * window - 1) ** 2, num_heads))
            trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Identity()  # every map passes it
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """(rows, tokens, C) as the layout gathers them -> the same shape."""
        rows, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(rows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        x = layout.attend(q * self.scale, k, v, self.relative_position_bias_table, self.attn_drop)
        return self.proj(x.transpose(1, 2).reshape(rows, tokens, dim))


class Block(nn.Module):
    """Pre-norm transformer block; all of it works on gathered tokens, padding included, as in the released code."""

    def __init__(self, dim: int, num_heads: int, window: int | None = None):
        super().__init__()
        self.norm1 = NORM(dim)
        self.attn = Attention(dim, num_heads, window)
        self.norm2 = NORM(dim)
        self.mlp = Mlp(dim, MLP_RATIO * dim)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """(R, N, C) -> (R, N, C)."""
        x = layout.gather(x)
        x = x + self.attn(self.norm1(x), layout)
        x = x + self.mlp(self.norm2(x))
        return layout.scatter(x)


class Encoder(nn.Module):
    """Images (B, in_chans, H, W) and their plan -> features (R, visible cells, 8C), R the plan's rows: B, or 1 where
    each image has a mask of its own.

    cells: those along an image's side. window: tokens along a window's side; where a stage's grid is no larger, it is
    one window and nothing is shifted. embed_dim: channels of the first stage, doubled from stage to stage.
    """

    shifted = False  # whether odd blocks shift their windows
    window_blocks = 1  # every n-th block, from the first, attends within windows

    def __init__(self, cells: int, window: int, embed_dim: int, depths: Sequence[int], impl: str, grouping: str):
        super().__init__()
        self.impl, self.grouping = impl, grouping
        self.grad_checkpointing = False
        self.depths = tuple(depths)
        self.sides = [cells * factor for factor in FACTORS]  # tokens along an image's side, by stage
        self.widths = [embed_dim << stage for stage in range(len(FACTORS))]
        self.window = window
        self.windows = [min(window, side) for side in self.sides]
        shifts = (0, window // 2) if self.shifted else (0,)
        self.shifts = [shifts if side > window else (0,) for side in self.sides]

    def plan(self, removed: Mask) -> Plan:
        """removed: (rows, cells, cells), True = removed; as many of each row.

        `visible` tokens of the first stage; for each stage `layouts`, one a shift, and the tokens of each square that
        is to be merged into one (`merge`), None where a token is a cell.
        """
        stages = []
        for factor, width, window, shifts in zip(FACTORS, self.widths, self.windows, self.shifts, strict=True):
            layouts = [layout(removed, factor, window, shift, width, self.impl, self.grouping) for shift in shifts]
            stages.append({"layouts": layouts, "merge": squares(removed, factor, 2) if factor > 1 else None})
        return {"visible": visible(removed, FACTORS[0]), "stages": stages}

    def layouts(self, plan: Plan, stage: int, like: Tensor) -> list[Layout]:
        """The layouts of a stage, one a shift. like: a tensor of the type of its logits."""
        return [LAYOUTS[self.impl](one, self.windows[stage], like) for one in plan["stages"][stage]["layouts"]]

    def uses(self, plan: Plan) -> Iterator[tuple[int, Plan]]:
        """The layouts of a plan, and the number of blocks that work on each."""
        for stage, depth in zip(plan["stages"], self.depths, strict=True):
            layouts = stage["layouts"]
            for number, own in enumerate(layouts):
                yield sum(i % len(layouts) == number for i in range(0, depth, self.window_blocks)), own
