"""DeiT and ViT as EsViT has them: timm's Vision Transformer, positions resized to each image."""

from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from models.esvit.multistage import check_images, choose, last_of

FIXED = {"class_token", "reg_tokens", "no_embed_class", "pos_embed", "dynamic_img_size"}


class ViT(VisionTransformer):
    """Image (B, in_chans, H, W) -> tokens (B, 1 + N, C), the class token first -> class token -> head.

    Arguments are timm's but for FIXED, and impl: "reference" computes attention explicitly.
    """

    def __init__(self, impl: str = "auto", **words: Any):
        if other := sorted(FIXED & words.keys()):
            raise ValueError(
                f"EsViT's ViT has no {other[0]}={words[other[0]]!r}: it has one class token, a learned position for "
                "each token, and takes images of any size. Leave it out."
            )
        super().__init__(**({"num_classes": 0} | words | {"dynamic_img_size": True}))
        self.impl = choose(impl)
        if self.impl == "reference":
            for block in self.blocks:
                block.attn.fused_attn = False
        trunc_normal_(self.cls_token, std=0.02)

    def _pos_embed(self, x: Tensor) -> Tensor:
        """Patches (B, h, w, C) -> tokens with positions (B, 1 + h · w, C)."""
        positions = resize_positions(self.pos_embed, tuple(map(int, x.shape[1:3])))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(1, 2)], dim=1)
        return self.pos_drop(x + positions)

    def check(self, images: Tensor) -> None:
        """Raise ValueError on images that patches don't divide."""
        check_images(images, self.in_chans, self.patch_embed.patch_size[0], "ViT")

    def forward_features(self, x: Tensor, **words: Any) -> Tensor:
        """(B, in_chans, H, W) -> (B, 1 + N, C), normalised. words: timm's. Raises what `check` does."""
        self.check(x)
        return super().forward_features(x, **words)

    def forward_regions(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, in_chans, H, W) -> the view's feature (B, C), which is the class token, and regions' (B, N, C)."""
        x = self.forward_features(images)
        return x[:, 0], x[:, 1:]

    def no_weight_decay(self) -> set[str]:
        """Nothing by name, as for the other backbones: positions and class token are decayed too."""
        return set()

    def linear_features(self, images: Tensor, blocks: int = 4) -> Tensor:
        """What a linear probe reads of the last `blocks` blocks: their normalised class tokens (B, blocks · C)."""
        numbers = last_of(range(len(self.blocks)), blocks)
        found = self.forward_intermediates(
            images, list(numbers), True, norm=True, output_fmt="NLC", intermediates_only=True
        )
        return torch.cat([cls[:, 0] for _, cls in found], dim=1)


def resize_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """The position table (1, 1 + n, C) of a square grid for another grid: bicubic, the class token's kept.

    Officially resized by a factor, the root of n_new / n, which for some grids rounds to a token less; `grid` is exact.
    """
    side = isqrt(int(table.shape[1]) - 1)  # int: torch.jit traces sizes as tensors
    if grid == (side, side):
        return table
    maps = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], maps.flatten(2).transpose(1, 2)], dim=1)
