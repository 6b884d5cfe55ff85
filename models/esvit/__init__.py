"""EsViT: Efficient Self-supervised Vision Transformers for Representation Learning, arXiv:2106.09785.

Official code: https://github.com/microsoft/esvit (2d6becd).

    image -> backbone -> regions (B, N, C) -> their mean (ViT: the class token) = the view's feature (B, C)
    crops [2 of 224 px, 8 of 96 px] -> student; the 2 -> teacher, an average of past students
    view feature -> head -> K logits -> cross-entropy with the teacher's of another crop                 view loss
    every region -> head_dense -> K logits -> cross-entropy with the teacher's most similar region       region loss

Backbones: Swin (windows of 7, 14), ViL and CvT, with 2-2-6-2 blocks and more; DeiT-S, ViT-B and ResNet-50 as peers.
Sides of images: multiples of 4 (Swin, CvT), 16 (ViT), squares of multiples of 32 (ViL). Windows of Swin are those of
224 px at every size, as officially.

Differences from the paper:
- The total is the mean of view and region loss, as in the official code; the paper's is their sum (`loss_weights`).
- The cross-entropy is of the teacher's distribution, as in the official code and DINO; equation 1 has it the other way.
- PvT, of table 4, is not in the official code, nor here.

Differences from the official code:
- A step without local crops, with locals of several sizes, or with more than two global crops works.
- ResNet-50 is timm's and loses its prefix `backbone.backbone.`; ViL's second names of shared layers are left out.
- Positions of a ViT are resized to the grid itself, not by a factor that rounds.
- ViL in training draws the neighbour of each layer beforehand (an argument), from PyTorch's generator.
- No mixup, no batch norm in heads.
- `impl="reference"` is the official data flow; "fast" computes the same with less (`losses`, `swin`, `vil`, `cvt`).
- `drop_path_rate` is 0 unless given; officially 0.1 (tiny, ViL, CvT, DeiT) or 0.2, the teacher's 0.
"""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import Bottleneck
from torch import nn

from models.esvit.checkpoints import checkpoint_filter_fn
from models.esvit.cvt import CVT_TINY, CvT
from models.esvit.multistage import IMPLS
from models.esvit.pretraining import EsViT, pretraining
from models.esvit.resnet import ResNet
from models.esvit.swin import Swin
from models.esvit.vil import VIL_2262, ViL
from models.esvit.vit import ViT
from models.swins import BASE, SMALL, TINY

__all__ = ["IMPLS", "CvT", "EsViT", "ResNet", "Swin", "ViL", "ViT", "checkpoint_filter_fn", "pretraining"]


def _cfg(first_conv: str, classifier: str = "head.fc", **words: Any) -> PretrainedCfg:
    return PretrainedCfg(
        num_classes=0,
        input_size=(3, 224, 224),
        crop_pct=224 / 256,
        interpolation="bicubic",
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        first_conv=first_conv,
        classifier=classifier,
        paper_name="Efficient Self-supervised Vision Transformers for Representation Learning",
        paper_ids="arXiv:2106.09785",
        origin_url="https://github.com/microsoft/esvit",
        **words,
    )


MAPS = {"pool_size": (7, 7)}
default_cfgs = generate_default_cfgs(
    dict.fromkeys([f"esvit_swin_{size}" for size in ("tiny", "small", "base")], _cfg("patch_embed.proj", **MAPS))
    | {
        "esvit_vil_2262": _cfg("layer1.0.proj", **MAPS),
        "esvit_cvt_tiny": _cfg("stage0.0.proj", **MAPS),
        "esvit_deit_small": _cfg("patch_embed.proj", "head"),
        "esvit_vit_base": _cfg("patch_embed.proj", "head"),
        "esvit_resnet50": _cfg("conv1", "fc", **MAPS),
    }
)

STAGES = {"out_indices": (0, 1, 2, 3), "feature_cls": "getter"}
LAST_BLOCKS = {"out_indices": 3, "feature_cls": "getter"}
LAYERS = {"out_indices": (0, 1, 2, 3, 4)}  # timm's own of ResNet


def _create(cls: type[nn.Module], variant: str, pretrained: bool, features: dict, row: dict, words: dict) -> nn.Module:
    return build_model_with_cfg(
        cls, variant, pretrained, pretrained_filter_fn=checkpoint_filter_fn, feature_cfg={**features}, **(row | words)
    )


# Rows of the paper's tables 1 and 4; parameters of the official code without a head (spec, section 0).


@register_model
def esvit_swin_tiny(pretrained: bool = False, **words) -> Swin:
    """Swin-T: 27.52 M parameters, 4.49 GMACs at 224 px, 1.10 at 96; with window=14 27.57 M, 4.89 and 1.86."""
    return _create(Swin, "esvit_swin_tiny", pretrained, STAGES, TINY, words)


@register_model
def esvit_swin_small(pretrained: bool = False, **words) -> Swin:
    """Swin-S: 48.84 M parameters, 8.74 GMACs at 224 px; with window=14 48.97 M and 9.40."""
    return _create(Swin, "esvit_swin_small", pretrained, STAGES, SMALL, words)


@register_model
def esvit_swin_base(pretrained: bool = False, **words) -> Swin:
    """Swin-B: 86.74 M parameters, 15.43 GMACs at 224 px; with window=14 86.92 M and 16.32."""
    return _create(Swin, "esvit_swin_base", pretrained, STAGES, BASE, words)


@register_model
def esvit_vil_2262(pretrained: bool = False, **words) -> ViL:
    """ViL with 2-2-6-2 blocks: 27.57 M parameters, 5.58 GMACs at 224 px (5.35 where kv is computed once)."""
    return _create(ViL, "esvit_vil_2262", pretrained, STAGES, VIL_2262, words)


@register_model
def esvit_cvt_tiny(pretrained: bool = False, **words) -> CvT:
    """CvT with 2-2-6-2 blocks: 29.30 M parameters, 4.28 GMACs at 224 px."""
    return _create(CvT, "esvit_cvt_tiny", pretrained, STAGES, CVT_TINY, words)


@register_model
def esvit_deit_small(pretrained: bool = False, **words) -> ViT:
    """DeiT-S, the peer with one stage: 21.67 M parameters, 4.60 GMACs at 224 px."""
    row = dict(patch_size=16, embed_dim=384, depth=12, num_heads=6)
    return _create(ViT, "esvit_deit_small", pretrained, LAST_BLOCKS, row, words)


@register_model
def esvit_vit_base(pretrained: bool = False, **words) -> ViT:
    """ViT-B: 85.80 M parameters, 17.56 GMACs at 224 px."""
    row = dict(patch_size=16, embed_dim=768, depth=12, num_heads=12)
    return _create(ViT, "esvit_vit_base", pretrained, LAST_BLOCKS, row, words)


@register_model
def esvit_resnet50(pretrained: bool = False, **words) -> ResNet:
    """ResNet-50: 23.51 M parameters, 4.09 GMACs at 224 px."""
    row = dict(block=Bottleneck, layers=(3, 4, 6, 3))
    return _create(ResNet, "esvit_resnet50", pretrained, LAYERS, row, words)
