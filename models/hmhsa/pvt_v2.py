"""PVTv2 (arXiv:2106.13797) with hMHSA and cFFN, built on timm's PyramidVisionTransformerV2."""

from timm.models.pvt_v2 import Attention, PyramidVisionTransformerV2, checkpoint_filter_fn
from torch import Tensor

from models.hmhsa.attention import HEAD_DIM, Grid, HallucinatedAttention
from models.hmhsa.ffn import layer_like
from models.hmhsa.model import Compacted
from models.hmhsa.options import Options


class PVTAttention(HallucinatedAttention):
    """timm's spatially reduced attention with half of its heads hallucinated."""

    def __init__(self, base: Attention, options: Options):
        super().__init__(base, options, prefix=0)
        self.sr = base.sr
        self.norm = base.norm
        self.q = layer_like(base.q, base.dim, base.dim // 2)
        self.kv = layer_like(base.kv, base.dim, base.dim // 2 + base.dim)  # k' C/2, v C

    def forward(self, x: Tensor, feat_size: Grid) -> Tensor:
        q = self.q(x)
        grid = feat_size
        if self.sr is not None:
            B, _, C = x.shape
            reduced = self.sr(x.transpose(1, 2).reshape(B, C, *feat_size))
            grid = reduced.shape[-2:]
            x = self.norm(reduced.flatten(2).transpose(1, 2))
        k, v = self.kv(x).split([q.shape[-1], 2 * q.shape[-1]], dim=-1)
        grid = grid if self.halluc.axis == "key" else feat_size
        return self.proj_drop(self.proj(self.attend(q, k, v, grid)))


class HMHSAPVTv2(Compacted, PyramidVisionTransformerV2):
    """Image (B, 3, H, W) -> logits (B, num_classes). Arguments are `Options` and those of timm's, but for its linear
    attention, which is not hallucinated."""

    def __init__(self, embed_dims: tuple[int, ...], num_heads: tuple[int, ...] | None = None, **words):
        options = Options.take(words)
        if words.get("linear") and options.hallucinate:
            raise ValueError("hMHSA is not defined for linear=True (PVTv2-Li). Use linear=False or hallucinate=False.")
        if num_heads is None:
            num_heads = tuple(C // (HEAD_DIM if options.hallucinate else 64) for C in embed_dims)
        super().__init__(embed_dims=embed_dims, num_heads=num_heads, **words)
        blocks = [block for stage in self.stages for block in stage.blocks]
        self.change(
            options,
            [(block, "attn") for block in blocks],
            [block.mlp for block in blocks],
            lambda base: PVTAttention(base, options),
            self._init_weights,
        )

    def from_official(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """`block1.0.attn` -> `stages.0.blocks.0.attn`, and so on."""
        return checkpoint_filter_fn(state_dict, self)
