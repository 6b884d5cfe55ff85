"""hMHSA: half of the heads have logits of their own, the other half's are hallucinated from them (paper, section 3.2).

    q, k (B, h/2, ., D) -> real logits (B, h/2, N, M) -> IHH -> CHH -> hallucinated logits (B, h/2, N, M)
    [real, hallucinated] -> softmax -> times v (B, h, M, D) -> heads side by side (B, N, h D)

IHH (intra-head) filters every row of a map, its keys laid out on their grid, with one 3x3 kernel a head; CHH
(cross-head) mixes the maps of a row and key. Both are linear and act on the logits, so they can be folded into queries
and keys. Exact, by `impl`:

reference         every map is stored, filtered and mixed, as the paper describes
maps              the same, without the copies that put heads behind rows and back
folded            IHH (Q_i K_i^T) = Q_i (IHH K_i)^T: keys are filtered, once for all rows, and never a map
sdpa              CHH too: sum_i c_ji Q_i K_i^T = [c_j1 Q_1, c_j2 Q_2, ...] [K_1, K_2, ...]^T, so a hallucinated head is
                  an ordinary one of width C/2, and PyTorch's fused attention runs it; no map is stored

With explicit attention (timm's `set_fused_attn(False)`) each of them passes the softmaxed map of all heads through
`attn_drop`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.hmhsa.options import Options

HEAD_DIM = 32  # D of all hallucinated models: the paper draws 12 heads of DeiT-S, whose base has 6 of 64
Grid = tuple[int, int]
IHH = Callable[[Tensor, Grid], Tensor]  # filters (B, n, others, cells), the cells on their grid


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """(B, T, n*D) -> (B, n, T, D)."""
    return x.reshape(*x.shape[:2], -1, head_dim).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, n, T, D) -> (B, T, n*D)."""
    return x.transpose(1, 2).flatten(2)


class Hallucination(nn.Module):
    """IHH and CHH of `real` heads, in the order of `steps`, on maps or folded into tokens.

    prefix leading tokens (a class token) are not on the grid, and the filter leaves them as they are.
    """

    def __init__(self, real: int, steps: tuple[str, ...], axis: str, prefix: int, like: Tensor):
        super().__init__()
        self.steps = steps
        self.axis = axis
        self.prefix = prefix
        where = {"device": like.device, "dtype": like.dtype}
        if "ihh" in steps:
            self.ihh = nn.Conv2d(real, real, 3, padding=1, groups=real, bias=False, **where)
        if "chh" in steps:
            self.chh = nn.Conv2d(real, real, 1, bias=False, **where)

    def forward(self, logits: Tensor, q: Tensor, k: Tensor, grid: Grid, impl: str) -> Tensor:
        """Real logits (B, h/2, N, M), and the q and k (B, h/2, ., D) whose products they are -> hallucinated logits."""
        steps = self.steps
        if impl == "sdpa" or (impl == "folded" and steps == ("chh", "ihh")):  # each head filters a mixture of its own
            q, k = self.fold(q, k, grid)
            return q @ k.transpose(-2, -1)
        if impl == "folded" and "ihh" in steps:
            q, k = self.fold_filter(q, k, grid)
            logits, steps = q @ k.transpose(-2, -1), steps[1:]
        for step in steps:
            by = self.by_rows if impl == "reference" else self.by_planes
            logits = self.filter_maps(logits, grid, by) if step == "ihh" else self.chh(logits)
        return logits

    def filter_maps(self, maps: Tensor, grid: Grid, ihh: IHH) -> Tensor:
        """IHH of maps (B, n, N, M)."""
        if self.axis == "query":
            return self.filter(maps.transpose(-2, -1), grid, ihh).transpose(-2, -1)
        return self.filter(maps, grid, ihh)

    def filter_tokens(self, x: Tensor, grid: Grid) -> Tensor:
        """IHH folded into queries or keys (B, n, T, D): all channels of a head share its kernel."""
        return self.filter(x.transpose(-2, -1), grid, self.by_planes).transpose(-2, -1)

    def filter(self, x: Tensor, grid: Grid, ihh: IHH) -> Tensor:
        """IHH along the last axis of (B, n, others, T); the tokens that are not on the grid stay as they are."""
        cells = ihh(x[..., self.prefix :], grid)
        return torch.cat([x[..., : self.prefix], cells], dim=-1) if self.prefix else cells

    def by_rows(self, cells: Tensor, grid: Grid) -> Tensor:
        """(B, n, rows, cells), row by row: each is an image whose channels are the n heads'. As the paper has it."""
        B, n, rows, _ = cells.shape
        cells = self.ihh(cells.transpose(1, 2).reshape(B * rows, n, *grid))
        return cells.reshape(B, rows, n, -1).transpose(1, 2)

    def by_planes(self, cells: Tensor, grid: Grid) -> Tensor:
        """The same without moving heads behind rows: a head is a volume, and its rows are planes of it."""
        kernel = self.ihh.weight.unsqueeze(2)  # (n, 1, 1, 3, 3)
        volumes = cells.reshape(*cells.shape[:-1], *grid)
        return F.conv3d(volumes, kernel, padding=(0, 1, 1), groups=len(kernel)).flatten(-2)

    def fold_filter(self, q: Tensor, k: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Queries and keys whose products are IHH of the products of `q` and `k`, of the same shapes."""
        if self.axis == "query":
            return self.filter_tokens(q, grid), k
        return q, self.filter_tokens(k, grid)

    def fold(self, q: Tensor, k: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Queries (B, h/2, N, w) and keys (B, h/2 or 1, M, w) whose products are the hallucinated logits.

        Without CHH w is D. With it w is C/2: a head's queries are all real heads' side by side, weighted by CHH. All
        heads share their keys then, but where IHH comes after CHH and filters them for each head.
        """
        if self.steps[:1] == ("ihh",):
            q, k = self.fold_filter(q, k, grid)
        if "chh" in self.steps:
            mix = self.chh.weight.flatten(1)  # (hallucinated, real)
            q = torch.einsum("ji,bind->bjnid", mix, q).flatten(3)
            k = merge_heads(k)[:, None]
        if self.steps[1:] == ("ihh",):
            q, k = self.fold_filter(q, k.expand(-1, q.shape[1], -1, -1), grid)
        return q, k


class HallucinatedAttention(nn.Module):
    """A base's attention with half of its query and key channels: what the three bases' have in common.

    It takes over those modules of `base` that stay; the subclasses make narrower projections. Raises ValueError for a
    number of heads that can't be halved.
    """

    pads: bool  # v to the width of q and k: the CPU's fused kernel takes no other, the GPU's do

    def __init__(self, base: nn.Module, options: Options, prefix: int):
        super().__init__()
        if base.num_heads % 2:
            raise ValueError(
                f"hMHSA halves the heads, and {base.num_heads} can't be halved. Use an even number of heads, or "
                "hallucinate=False."
            )
        self.num_heads = base.num_heads
        self.head_dim = base.head_dim
        self.scale = base.scale
        self.fused_attn = base.fused_attn
        self.impl = options.impl
        self.halluc = Hallucination(self.num_heads // 2, options.steps, options.axis, prefix, base.proj.weight)
        self.attn_drop = base.attn_drop
        self.proj = base.proj
        self.proj_drop = base.proj_drop

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """q (B, N, C/2), k (B, M, C/2), v (B, M, C) -> all heads side by side (B, N, C); grid is the axis's own."""
        tokens = q.shape[1] if self.halluc.axis == "query" else k.shape[1]
        if grid[0] * grid[1] != tokens - self.halluc.prefix:
            raise ValueError(
                f"hMHSA filters a {grid[0]}x{grid[1]} grid of {'queries' if self.halluc.axis == 'query' else 'keys'}, "
                f"and got {tokens} tokens, {self.halluc.prefix} of them beside the grid. Use images of the size "
                "that the model was built for (DeiT: img_size), or of a multiple of 32 a side (Next-ViT)."
            )
        q, k, v = (split_heads(x, self.head_dim) for x in (q * self.scale, k, v))
        out = self.fused(q, k, v, grid) if self.impl == "sdpa" and self.fused_attn else self.explicit(q, k, v, grid)
        return merge_heads(out)

    def explicit(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """q, k (B, h/2, ., D), v (B, h, M, D) -> (B, h, N, D); the map of all heads passes `attn_drop`."""
        real = q @ k.transpose(-2, -1)
        logits = torch.cat([real, self.halluc(real, q, k, grid, self.impl)], dim=1)
        return self.attn_drop(logits.softmax(dim=-1)) @ v

    def fused(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """The same by PyTorch's fused attention: real heads of width D, hallucinated heads of width C/2."""
        v, hallucinated_v = v.chunk(2, dim=1)
        real = self.fused_heads(q, k, v)
        q, k = self.halluc.fold(q, k, grid)
        k = k.contiguous().expand(-1, q.shape[1], -1, -1)  # laid out as the kernels want it, or PyTorch stores the maps
        return torch.cat([real, self.fused_heads(q, k, hallucinated_v)], dim=1)

    def fused_heads(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k (B, n, ., w), v (B, n, M, D) -> (B, n, N, D)."""
        if self.pads:
            v = F.pad(v, (0, q.shape[-1] - v.shape[-1]))
        dropout = self.attn_drop.p if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=1.0)[..., : self.head_dim]
