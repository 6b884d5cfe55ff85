"""SimMIM: A Simple Framework for Masked Image Modeling, arXiv:2111.09886.

Official code: https://github.com/microsoft/SimMIM (d3e29bc).

    images (B, 3, H, W), mask (B, L) of the L = (H/32)² cells
    -> patch embedding, norm (B, H/4, W/4, C); tokens of removed cells are replaced by a learned one
    -> Swin on all tokens -> norm -> features (B, 8C, H/32, W/32)
    -> 1x1 convolution, pixel shuffle -> prediction (B, 3, H, W) -> absolute error on removed pixels

The encoder is timm's Swin, which is the same function as the official one, so that GreenMIM isn't compared with a slow
baseline: docs/greenmim times a step beside one of timm's classifier.

Differences from the official code: parameters of patch merging have timm's names (`checkpoint_filter_fn` maps the
official ones); the mask is one of cells, which there a data loader has repeated to patches; one mask for all images is
possible.
Differences from the paper: none known.
"""

from collections.abc import Sequence
from math import ceil

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import trunc_normal_
from timm.models import PretrainedCfg, SwinTransformer, build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from models.arguments import among
from models.masked.masks import check_images, check_mask, draw, draw_images
from models.masked.options import CELL, FACTORS, cells, check_ratio, no_classes, no_feature_maps, window_size
from models.masked.swin_names import fit_bias_tables, timm_names, without_buffers
from models.swins import BASE, LARGE, MICRO, TINY

__all__ = ["IMPLS", "SimMIM", "checkpoint_filter_fn", "pretraining"]

IMPLS = ("auto", "reference")


class MaskedSwin(SwinTransformer):
    """timm's Swin, with a token for what is removed."""

    def __init__(self, **words):
        super().__init__(num_classes=0, global_pool="", **words)
        self.mask_token = nn.Parameter(trunc_normal_(torch.zeros(1, 1, self.embed_dim), std=0.02))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) and the removed cells (B or 1, side, side) -> (B, 8C, H/32, W/32)."""
        x = self.patch_embed(x)  # (B, H/4, W/4, C)
        x = torch.where(_repeat(mask, FACTORS[0])[..., None], self.mask_token.to(x.dtype), x)
        return self.norm(self.layers(x)).permute(0, 3, 1, 2)


class SimMIM(nn.Module):
    """Masked image modelling with all tokens. Arguments of every variant:

    img_size: pixels along a side, a multiple of 32. window: tokens along a window's side; scales with the image if not
    given. mask_ratio: share of cells that `sample_inputs` removes, rounded up. per_image: a mask for each image, as in
    the paper, or one a batch. impl: one of IMPLS.
    """

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        default: tuple[int, int],
        img_size: int | tuple[int, int] | None = None,
        window: int | None = None,
        in_chans: int = 3,
        num_classes: int = -1,
        mask_ratio: float = 0.6,
        per_image: bool = True,
        drop_path_rate: float = 0.0,
        impl: str = "auto",
    ):
        """default: the variant's own (img_size, window)."""
        super().__init__()
        self.side = cells(default[0] if img_size is None else img_size, "SimMIM")
        window = window_size(window, default, self.side, "SimMIM")
        among("impl", impl, IMPLS, "SimMIM")
        self.impl = "reference"
        self.num_classes = no_classes(num_classes, "SimMIM")
        self.in_chans = in_chans
        self.mask_ratio = check_ratio(mask_ratio, "SimMIM")
        self.per_image = per_image
        self.encoder = MaskedSwin(
            img_size=CELL * self.side,
            in_chans=in_chans,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window_size=window,
            drop_path_rate=drop_path_rate,
        )
        self.num_features = self.encoder.num_features
        self.decoder = nn.Sequential(nn.Conv2d(self.num_features, CELL**2 * in_chans, 1), nn.PixelShuffle(CELL))

    @property
    def removed(self) -> int:
        """Cells that `sample_inputs` removes."""
        return ceil(self.side**2 * self.mask_ratio)

    def sample_inputs(
        self, batch: int, generator: torch.Generator | None, device: str | torch.device, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """Standard normal `images`, and a `mask` as the paper draws it."""
        length = self.side**2
        images = draw_images(batch, self.in_chans, self.side, generator)
        mask, _ = draw(self.removed, (batch, length) if self.per_image else (length,), generator)
        return {"images": images.to(device, dtype), "mask": mask.to(device)}

    def draw_masks(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Masks as `sample_inputs` draws them, bool (count, rows, columns), True = removed."""
        mask, _ = draw(self.removed, (count, self.side**2), generator)
        return mask.unflatten(1, (self.side, self.side))

    def forward_features(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, in_chans, H, W) -> (B, 8C, H/32, W/32). mask: as for `forward`."""
        return self.encoder(images, self._mask(images, mask))

    def forward(self, images: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Encode all tokens, predict all pixels, compare the removed ones.

        images (B, in_chans, H, W). mask, True = removed, of (L,) for all images, (B, L), or the same as grids; without
        one nothing is removed, and the loss, of no pixel, is 0.

        Returns features (B, 8C, H/32, W/32), prediction (B, in_chans, H, W) and loss (). Raises ValueError on images or
        a mask of another size.
        """
        cells = self._mask(images, mask)
        features = self.encoder(images, cells)
        prediction = self.decoder(features)
        pixels = _repeat(cells, CELL)[:, None].expand(len(images), -1, -1, -1)  # (B, 1, H, W)
        error = (images - prediction).abs() * pixels
        error = error.sum(dtype=torch.promote_types(error.dtype, torch.float32))  # beyond what float16 holds
        return {
            "loss": error / (pixels.sum() + 1e-5) / self.in_chans,
            "prediction": prediction,
            "features": features,
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute blocks again in the backward pass instead of storing what they need."""
        self.encoder.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Bias tables and the mask token."""
        return {f"encoder.{name}" for name in (*self.encoder.no_weight_decay(), "mask_token")}

    def _mask(self, images: Tensor, mask: Tensor | None) -> Tensor:
        """(B or 1, side, side)."""
        check_images(images, self.in_chans, self.side)
        if mask is None:
            return torch.zeros(1, self.side, self.side, dtype=torch.bool, device=images.device)
        return check_mask(mask, self.side, len(images)).reshape(-1, self.side, self.side)


def _repeat(grids: Tensor, times: int) -> Tensor:
    """(B, rows, columns) -> (B, times · rows, times · columns)."""
    return grids[:, :, None, :, None].expand(-1, -1, times, -1, times).flatten(3).flatten(1, 2)


def pretraining(model_name: str, **options) -> nn.Module:
    """The model itself: it takes `images` and `mask`, and returns its loss (`SimMIM`)."""
    return timm.create_model(model_name, **options)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Drop derived buffers, give patch merging timm's names, resize bias tables to the model's windows."""
    return fit_bias_tables(timm_names(without_buffers(state_dict)), model)


CFG = PretrainedCfg(
    num_classes=-1,
    input_size=(3, 192, 192),
    fixed_input_size=True,
    interpolation="bicubic",
    mean=IMAGENET_DEFAULT_MEAN,
    std=IMAGENET_DEFAULT_STD,
    first_conv="encoder.patch_embed.proj",
    classifier=None,
    paper_name="SimMIM: A Simple Framework for Masked Image Modeling",
    paper_ids="arXiv:2111.09886",
    origin_url="https://github.com/microsoft/SimMIM",
)
CFG_224 = PretrainedCfg(**{**CFG.__dict__, "input_size": (3, 224, 224)})
default_cfgs = generate_default_cfgs(
    {
        "simmim_swin_micro": CFG_224,
        "simmim_swin_tiny": CFG_224,
        "simmim_swin_base": CFG,
        "simmim_swin_large": CFG,
    }
)


def _create(variant: str, pretrained: bool, row: dict, words: dict) -> SimMIM:
    no_feature_maps(words, "SimMIM")
    return build_model_with_cfg(
        SimMIM,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **(row | words),
    )


# Base and large are the paper's rows (configs/swin_base__800ep, swin_large__800ep), at 192 px. Tiny and micro are ours,
# at 224; micro is for quick tests. default: (pixels, window).


@register_model
def simmim_swin_micro(pretrained: bool = False, **words) -> SimMIM:
    """A small Swin: 3.07 M parameters."""
    row = {**MICRO, "default": (224, 7)}
    return _create("simmim_swin_micro", pretrained, row, words)


@register_model
def simmim_swin_tiny(pretrained: bool = False, **words) -> SimMIM:
    """Swin-T: 29.88 M parameters, 27.52 M of them the encoder's."""
    row = {**TINY, "default": (224, 7)}
    return _create("simmim_swin_tiny", pretrained, row, words)


@register_model
def simmim_swin_base(pretrained: bool = False, **words) -> SimMIM:
    """Swin-B with windows of 6 at 192 px: 89.87 M parameters, 86.73 M of them the encoder's."""
    row = {**BASE, "default": (192, 6)}
    return _create("simmim_swin_base", pretrained, row, words)


@register_model
def simmim_swin_large(pretrained: bool = False, **words) -> SimMIM:
    """Swin-L with windows of 12 at 192 px: 199.88 M parameters, 195.16 M of them the encoder's."""
    row = {**LARGE, "default": (192, 12)}
    return _create("simmim_swin_large", pretrained, row, words)
