"""Next-ViT (arXiv:2207.05501) with hMHSA and cFFN, built on timm's NextViT."""

import re

import torch
from timm.layers import trunc_normal_
from timm.models.nextvit import EfficientAttention, NextTransformerBlock, NextViT
from torch import Tensor, nn

from models.hmhsa.attention import Grid, HallucinatedAttention
from models.hmhsa.ffn import layer_like
from models.hmhsa.model import Compacted
from models.hmhsa.options import Options


class NextViTAttention(HallucinatedAttention):
    """timm's E-MHSA with half of its heads hallucinated, told the grid of its tokens.

    Its keys are means of sr*sr tokens that follow each other row by row, and not of a square: their grid has the right
    size, but is loose in meaning where sr > 1.
    """

    def __init__(self, base: EfficientAttention, options: Options):
        super().__init__(base, options, prefix=0)
        self.sr_ratio = base.sr_ratio
        self.sr = base.sr
        self.norm = base.norm
        self.q = layer_like(base.q, base.dim, base.dim // 2)
        self.k = layer_like(base.k, base.dim, base.dim // 2)
        self.v = base.v

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q = self.q(x)
        if self.sr is not None:
            x = self.norm(self.sr(x.transpose(1, 2))).transpose(1, 2)
        if self.halluc.axis == "key":
            grid = (grid[0] // self.sr_ratio, grid[1] // self.sr_ratio)
        return self.proj_drop(self.proj(self.attend(q, self.k(x), self.v(x), grid)))


class HallucinatedBlock(nn.Module):
    """timm's NextTransformerBlock, but that its attention is told the grid."""

    def __init__(self, base: NextTransformerBlock):
        super().__init__()
        for name, child in base.named_children():
            setattr(self, name, child)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        tokens = self.norm1(x).flatten(2).transpose(1, 2)
        tokens = self.mhsa_drop_path(self.e_mhsa(tokens, x.shape[-2:]))
        x = x + tokens.transpose(1, 2).reshape(x.shape)
        local = self.projection(x)
        local = local + self.mhca_drop_path(self.mhca(local))
        x = torch.cat([x, local], dim=1)
        return x + self.mlp_drop_path(self.mlp(self.norm2(x)))


class HMHSANextViT(Compacted, NextViT):
    """Image (B, 3, H, W) -> logits (B, num_classes). Arguments are `Options` and timm's NextViT's."""

    def __init__(self, **words):
        options = Options.take(words)
        super().__init__(**words)
        for stage in self.stages if options.hallucinate else ():
            for i, block in enumerate(stage.blocks):
                if isinstance(block, NextTransformerBlock):
                    stage.blocks[i] = HallucinatedBlock(block)
        blocks = [block for stage in self.stages for block in stage.blocks]
        self.change(
            options,
            [(block, "e_mhsa") for block in blocks if hasattr(block, "e_mhsa")],
            [block.mlp for block in blocks],
            lambda base: NextViTAttention(base, options),
            init_weights,
        )

    def from_official(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """`features.6.mlp.conv1` -> `stages.1.blocks.3.mlp.fc1`, `proj_head.0` -> `head.fc`, and so on."""
        if not any(name.startswith("features.") for name in state_dict):
            return state_dict
        places = [f"stages.{i}.blocks.{j}" for i, stage in enumerate(self.stages) for j in range(len(stage.blocks))]
        renamed = {}
        for name, x in state_dict.items():
            name = re.sub(r"^features\.(\d+)", lambda found: places[int(found[1])], name)
            name = re.sub(r"\bmlp\.conv(\d)", r"mlp.fc\1", name)
            renamed[re.sub(r"^proj_head\.0", "head.fc", name)] = x
        return renamed


def init_weights(module: nn.Module) -> None:
    """Draw initial weights as Next-ViT does; norms keep torch's ones and zeros."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
