"""BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers, arXiv:2208.06366.

Official code: https://github.com/microsoft/unilm, folder beit2 (768a3c8).

    classifier     image (B, 3, 224, 224) -> patches of 16 px, class token (B, 197, D) -> L blocks -> mean, norm -> head
    tokenizer      image -> ViT-B -> unit rows (B, 196, 32) -> nearest of 8192 codes -> 3 blocks -> teacher's features
    masked model   image, mask -> a token in place of 75 patches -> L blocks -> norm -> 8192 logits a masked patch
    its CLS head   patches behind block 9 (large: 21), class token behind the last -> 2 blocks -> norm -> 8192 logits

Differences from the paper:
- The quantisation loss has one term, a mean over the 32 dimensions too; the codebook is a running average instead of
  the paper's other term, and the paper's sums are 32 times larger.
- Classifiers average patches, where the paper's linear probe reads the class token.

Differences from the official code:
- k-means of the codebook's start runs over all processes together; officially each has a codebook of its own at first.
- A step moves the codebook in `after_step`, not in the forward pass, which is the same for one pass a step.
- No stored index of positions a block; position tables are found by one, which the model holds.
- Initial weights are of an untruncated normal where the official bounds are 100 deviations, whose inverse can give ±2.
- The tokenizer's codebook is random unless kmeans_init is asked for, as the official training command does.
- Tokens are of images of one size, the one that a model was built for: officially absolute positions are resized at run
  time, here when a checkpoint is loaded.
- `impl="reference"` is the official data flow; "fast" computes the same with less: fused attention; of the last blocks
  only what the losses read; losses without stored logits; codes without one-hot rows.
- No dropout but before the classifier (all official rates are 0).
- The CLIP teacher has no text tower, and the tokenizer in a step of masked modelling no decoder; officially both are
  kept in memory, and not used.
"""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from models.beitv2.checkpoints import checkpoint_filter_fn
from models.beitv2.classifier import Classifier
from models.beitv2.mim import MaskedModel
from models.beitv2.pretraining import MaskedModelling, TokenizerTraining, pretraining
from models.beitv2.trunk import IMPLS, NAME
from models.beitv2.vqkd import VQKD

__all__ = [
    "IMPLS",
    "VQKD",
    "Classifier",
    "MaskedModel",
    "MaskedModelling",
    "TokenizerTraining",
    "checkpoint_filter_fn",
    "pretraining",
]


IMAGENET = dict(mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
LEVELS = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # of a tokenizer, which takes images in [0, 1]


def _cfg(
    num_classes: int, first_conv: str = "patch_embed.proj", classifier: str | None = None, **words: Any
) -> PretrainedCfg:
    return PretrainedCfg(
        num_classes=num_classes,
        input_size=(3, 224, 224),
        fixed_input_size=True,
        crop_pct=0.875,
        interpolation="bicubic",
        first_conv=first_conv,
        classifier=classifier,
        **words,
        paper_name="BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers",
        paper_ids="arXiv:2208.06366",
        origin_url="https://github.com/microsoft/unilm/tree/master/beit2",
    )


default_cfgs = generate_default_cfgs(
    dict.fromkeys(["beitv2_base", "beitv2_large"], _cfg(1000, classifier="head", **IMAGENET))
    | dict.fromkeys(["beitv2_mim_base", "beitv2_mim_large"], _cfg(-1, **IMAGENET))
    | {"beitv2_vqkd_base": _cfg(-1, "encoder.patch_embed.proj", **LEVELS)}
)

# Rows of the paper's section 3.1; init_values and early_layer as its code has them.
BASE = dict(embed_dim=768, depth=12, num_heads=12)
LARGE = dict(embed_dim=1024, depth=24, num_heads=16)
BASE_SCALES, LARGE_SCALES = dict(init_values=0.1), dict(init_values=1e-5)
MAPS = {"beitv2_base": (3, 5, 7, 11), "beitv2_large": (7, 11, 15, 23)}  # behind which blocks the official UPerNet reads


def _create(cls: type[nn.Module], variant: str, pretrained: bool, row: dict, words: dict) -> nn.Module:
    features = {}
    if cls is Classifier:
        features = {"feature_cfg": {"out_indices": MAPS[variant], "feature_cls": "getter"}}
    elif words.get("features_only"):
        raise ValueError(f"{NAME}'s {variant} has no feature maps by stage. Use beitv2_base or beitv2_large.")
    return build_model_with_cfg(
        cls, variant, pretrained, pretrained_filter_fn=checkpoint_filter_fn, **features, **(row | words)
    )


@register_model
def beitv2_base(pretrained: bool = False, **words) -> Classifier:
    """ViT-B/16: 86.53 M parameters, 17.56 GMACs at 224 px, 55.48 at 384."""
    return _create(Classifier, "beitv2_base", pretrained, BASE | BASE_SCALES, words)


@register_model
def beitv2_large(pretrained: bool = False, **words) -> Classifier:
    """ViT-L/16: 304.43 M parameters, 61.55 GMACs at 224 px, 191.07 at 384."""
    return _create(Classifier, "beitv2_large", pretrained, LARGE | LARGE_SCALES, words)


@register_model
def beitv2_mim_base(pretrained: bool = False, **words) -> MaskedModel:
    """ViT-B/16 with a CLS head behind block 9: 106.14 M parameters, 21.41 GMACs by the reference."""
    return _create(MaskedModel, "beitv2_mim_base", pretrained, BASE | BASE_SCALES | dict(early_layer=9), words)


@register_model
def beitv2_mim_large(pretrained: bool = False, **words) -> MaskedModel:
    """ViT-L/16 with a CLS head behind block 21: 336.73 M parameters, 67.93 GMACs by the reference."""
    return _create(MaskedModel, "beitv2_mim_large", pretrained, LARGE | LARGE_SCALES | dict(early_layer=21), words)


@register_model
def beitv2_vqkd_base(pretrained: bool = False, **words) -> VQKD:
    """ViT-B/16, 8192 codes of width 32, three blocks of decoder: 109.36 M parameters, 17.74 GMACs to tokens, 22.30 to
    features."""
    return _create(VQKD, "beitv2_vqkd_base", pretrained, BASE, words)
