"""DeiT (arXiv:2012.12877) with hMHSA and cFFN, built on timm's VisionTransformer."""

from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn, init_weights_vit_timm
from torch import Tensor, nn

from models.hmhsa.attention import HEAD_DIM, Grid, HallucinatedAttention
from models.hmhsa.ffn import layer_like
from models.hmhsa.model import Compacted
from models.hmhsa.options import Options


class DeiTAttention(HallucinatedAttention):
    """timm's Attention with half of its heads hallucinated; class token first, then the image's tokens."""

    def __init__(self, base: Attention, options: Options, prefix: int, grid: Grid):
        if not all(isinstance(norm, nn.Identity) for norm in (base.q_norm, base.k_norm, base.norm)):
            raise ValueError("hMHSA has no qk_norm and no scale_attn_norm. Leave them out, or use hallucinate=False.")
        super().__init__(base, options, prefix)
        self.grid = grid
        self.qkv = layer_like(base.qkv, base.attn_dim, 2 * base.attn_dim)  # q' C/2, k' C/2, v C

    def forward(self, x: Tensor, attn_mask: None = None, is_causal: bool = False) -> Tensor:
        if attn_mask is not None or is_causal:
            raise ValueError("hMHSA has no masked attention.")
        half = self.qkv.out_features // 4
        q, k, v = self.qkv(x).split([half, half, 2 * half], dim=-1)
        return self.proj_drop(self.proj(self.attend(q, k, v, self.grid)))


class HMHSADeiT(Compacted, VisionTransformer):
    """Image (B, 3, H, W) -> logits (B, num_classes). Arguments are `Options` and timm's VisionTransformer's."""

    def __init__(self, embed_dim: int, num_heads: int | None = None, **words):
        options = Options.take(words)
        if num_heads is None:
            num_heads = embed_dim // (HEAD_DIM if options.hallucinate else 64)
        if words.get("dynamic_img_size") and options.hallucinate:
            raise ValueError("hMHSA needs the grid of its keys, which dynamic_img_size=True changes. Use img_size.")
        super().__init__(embed_dim=embed_dim, num_heads=num_heads, **words)
        self.change(
            options,
            [(block, "attn") for block in self.blocks],
            [block.mlp for block in self.blocks],
            lambda base: DeiTAttention(base, options, self.num_prefix_tokens, self.patch_embed.grid_size),
            init_weights_vit_timm,
        )

    def default_size(self) -> tuple[int, int]:
        return self.patch_embed.img_size

    def set_input_size(self, *args, **kwargs) -> None:
        """As timm's; the grid of the keys follows, and not the route (`choose_impl`)."""
        super().set_input_size(*args, **kwargs)
        for module in self.modules():
            if isinstance(module, DeiTAttention):
                module.grid = self.patch_embed.grid_size

    def from_official(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Names are timm's already; the position table is resized to the model's, as DeiT's fine-tuning does."""
        return checkpoint_filter_fn(state_dict, self, antialias=False)
