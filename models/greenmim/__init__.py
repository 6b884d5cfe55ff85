"""GreenMIM: Green Hierarchical Vision Transformer for Masked Image Modeling, arXiv:2205.13515.

Official code: https://github.com/LayneH/GreenMIM (b981012).

    images (B, 3, H, W), mask (L,) of the L = (H/32)² cells
    -> patch embedding of all tokens, removed ones are dropped
    -> Swin or Twins on what is visible: windows of unequal numbers of tokens, packed into groups of equal size
    -> features (B, visible cells, 8C)
    -> linear, mask tokens for what was removed, positions -> transformer (decoder_depth blocks of width 512)
    -> prediction (B, L, 32 · 32 · 3) -> squared error on removed cells, each normalised by its own mean and deviation

Differences from the paper: its search for the best group size is in no version of the official code, which takes the
largest window as the size (`grouping="official"`); "search" is the paper's, "packed" a better packing, priced by the
whole block (padding goes through norms and FFN too, not through attention alone). All give the same numbers.

Differences from the official code:
- Visible latents are put back on their own cells; there they are permuted among visible cells, since latents come
  row-major and `ids_restore` follows the noise. `official_alignment=True` has that too.
- A mask may differ from image to image (`per_image`), and may remove nothing, where the official code crashes.
- Indices are made on the host, in one go a forward pass, and packing uses bit sets; there it takes a transfer a stage
  and shift, and some ms of pure Python. That much the reference may be lighter than the official code.
- Mask and order of the decoder are arguments of `forward`, and not drawn in it.
- No stochastic depth: the official pre-training has none, and there it would act on groups.
- Twins: rows of sparse convolutions are gathered and multiplied densely. Their initial weights are PyTorch's default
  for convolutions; what spconv draws is not known here.

Checkpoints of 2022 merge patches in another order: `checkpoint_filter_fn(state, model, merge_order=2022)` permutes
their weights. `models.swin_classifier` turns a checkpoint into timm's Swin classifier.
"""

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from models.arguments import among
from models.greenmim.model import IMPLS, GreenMIM
from models.masked.options import no_feature_maps
from models.masked.swin_names import MERGE_ORDERS, fit_bias_tables, swap_merge_order, without_buffers
from models.swins import BASE, LARGE, MICRO, TINY

__all__ = ["IMPLS", "GreenMIM", "checkpoint_filter_fn", "pretraining"]


def pretraining(model_name: str, **options) -> nn.Module:
    """The model itself: it takes `images` and `mask`, and returns its loss (`GreenMIM`)."""
    return timm.create_model(model_name, **options)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module, merge_order: int = 2023) -> dict[str, Tensor]:
    """Drop derived buffers, resize bias tables to the model's windows, and take the model's own table of positions
    where the grid is another.

    merge_order: 2022 for a checkpoint of official code before b981012 (January 2023), whose merging reads the tokens of
    a square row by row.
    """
    among("merge_order", merge_order, MERGE_ORDERS, "GreenMIM")
    state = fit_bias_tables(without_buffers(state_dict), model)
    own = model.state_dict()["decoder_pos_embed"]
    if "decoder_pos_embed" in state and state["decoder_pos_embed"].shape != own.shape:
        state["decoder_pos_embed"] = own  # it is computed, not trained
    return swap_merge_order(state) if merge_order == 2022 else state


CFG = PretrainedCfg(
    num_classes=-1,
    input_size=(3, 224, 224),
    fixed_input_size=True,
    interpolation="bicubic",
    mean=IMAGENET_DEFAULT_MEAN,
    std=IMAGENET_DEFAULT_STD,
    first_conv="encoder.patch_embed.proj",
    classifier=None,
    paper_name="Green Hierarchical Vision Transformer for Masked Image Modeling",
    paper_ids="arXiv:2205.13515",
    origin_url="https://github.com/LayneH/GreenMIM",
)
default_cfgs = generate_default_cfgs(
    dict.fromkeys([f"greenmim_swin_{size}" for size in ("micro", "tiny", "base", "large")], CFG)
    | {"greenmim_twins_large": CFG}
)


def _create(variant: str, pretrained: bool, row: dict, words: dict) -> GreenMIM:
    no_feature_maps(words, "GreenMIM")
    return build_model_with_cfg(
        GreenMIM,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **({"encoder": "swin"} | row | words),
    )


# Official rows: base with windows of 7 and 14, large with 14, Twins-L (modeling/model_factory.py). Tiny and micro are
# ours, of the same classes; micro is for quick tests. default: (pixels, window).


@register_model
def greenmim_swin_micro(pretrained: bool = False, **words) -> GreenMIM:
    """A small Swin: 2.55 M parameters."""
    row = {**MICRO, "default": (224, 7), "decoder": (64, 4)}
    return _create("greenmim_swin_micro", pretrained, row, words)


@register_model
def greenmim_swin_tiny(pretrained: bool = False, **words) -> GreenMIM:
    """Swin-T: 32.67 M parameters, 27.52 M of them the encoder's."""
    row = {**TINY, "default": (224, 7)}
    return _create("greenmim_swin_tiny", pretrained, row, words)


@register_model
def greenmim_swin_base(pretrained: bool = False, **words) -> GreenMIM:
    """Swin-B: 92.02 M parameters, 86.74 M of them the encoder's; window=14 is the paper's other row."""
    row = {**BASE, "default": (224, 7)}
    return _create("greenmim_swin_base", pretrained, row, words)


@register_model
def greenmim_swin_large(pretrained: bool = False, **words) -> GreenMIM:
    """Swin-L with windows of 14: 200.80 M parameters, 195.26 M of them the encoder's."""
    row = {**LARGE, "default": (224, 14)}
    return _create("greenmim_swin_large", pretrained, row, words)


@register_model
def greenmim_twins_large(pretrained: bool = False, **words) -> GreenMIM:
    """Twins-SVT-L: 103.53 M parameters, 98.25 M of them the encoder's."""
    row = {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32), "default": (224, 7)}
    return _create("greenmim_twins_large", pretrained, row | {"encoder": "twins"}, words)
