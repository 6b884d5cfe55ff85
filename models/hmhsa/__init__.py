"""hMHSA and cFFN: Vision Transformer with Attention Map Hallucination and FFN Compaction, arXiv:2306.10875.

Official code: none is known. Bases: https://github.com/facebookresearch/deit, whai362/PVT and bytedance/Next-ViT, here
as timm has them.

    block of DeiT, PVTv2 or Next-ViT
    tokens (B, N, C) -> q', k' (C/2 each), v (C) -> h/2 real maps -> IHH, CHH -> h/2 hallucinated maps
                     -> softmax -> maps times v -> projection (C)                                        hMHSA
    tokens (B, N, C) -> fc1 (H) -> activation -> reduce (d) -> restore (C)                               cFFN

Since no code exists, every detail is settled in one of three ways.

Fixed by the paper's text: half of the heads are hallucinated; the scaled logits, before the softmax, are what IHH (a
depthwise 3x3 filter of a row's keys on their 2-D grid) and then CHH (a 1x1 convolution across heads) work on; real and
hallucinated maps are concatenated; v and the projections keep their widths; cFFN factorises fc2 with nothing in
between, trains with two branches of linear map and batch norm a factor, and is published in its deployed form.

Chosen because it fits the published parameters and MACs best: heads of 32 channels, so that every base has an even
number of them (DeiT-T 6, DeiT-S 12, PVTv2-B1 2/4/10/16, Next-ViT-S 6/12/12/24); inner width d = floor(t H C / (H + C))
with t = 2/3; cFFN in every FFN, those of Next-ViT's convolution blocks too.

Our conventions, which nothing decides: real heads come first; the class token's key bypasses IHH, while its row is
filtered like any other; IHH and CHH have no bias, norm or activation (a bias of theirs nearly cancels in the softmax);
q', k' and v have the base's bias, the branches none; branch norms have eps 1e-5 and momentum 0.1 and run over all
tokens, the class token included; new convolutions are drawn by the base's rule; the state-dict names.

Differences from the paper: Next-ViT's keys are pooled along the row-major sequence of tokens, so that their grid is
only nominal where they are reduced.
"""

import re

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from models.hmhsa.deit import HMHSADeiT
from models.hmhsa.ffn import Branches, deploy_state
from models.hmhsa.nextvit import HMHSANextViT
from models.hmhsa.options import IMPLS
from models.hmhsa.pvt_v2 import HMHSAPVTv2

__all__ = ["IMPLS", "HMHSADeiT", "HMHSANextViT", "HMHSAPVTv2", "checkpoint_filter_fn"]


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Map the names of the base's official code, with `mlp.reduce` and `mlp.restore` for `mlp.fc2`, to the model's.

    A checkpoint in training form is deployed on its way into a deployed model.
    """
    state = model.from_official(state_dict)
    state = {re.sub(r"\bmlp\.(reduce|restore)\b", r"mlp.fc2.\1", name): x for name, x in state.items()}
    trains = any(isinstance(module, Branches) for module in model.modules())
    return state if trains else deploy_state(state)


def _cfg(origin: str, **words) -> PretrainedCfg:
    return PretrainedCfg(
        num_classes=1000,
        input_size=(3, 224, 224),
        crop_pct=0.9,
        interpolation="bicubic",
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        paper_name="Vision Transformer with Attention Map Hallucination and FFN Compaction",
        paper_ids="arXiv:2306.10875",
        origin_url=origin,
        **words,
    )


DEIT = _cfg(
    "https://github.com/facebookresearch/deit", first_conv="patch_embed.proj", classifier="head", fixed_input_size=True
)
default_cfgs = generate_default_cfgs(
    {
        "hmhsa_deit_tiny": DEIT,
        "hmhsa_deit_small": DEIT,
        "hmhsa_pvt_v2_b1": _cfg(
            "https://github.com/whai362/PVT", first_conv="patch_embed.proj", classifier="head", pool_size=(7, 7)
        ),
        "hmhsa_nextvit_small": _cfg(
            "https://github.com/bytedance/Next-ViT", first_conv="stem.0.conv", classifier="head.fc", pool_size=(7, 7)
        ),
    }
)


GETTER = {"out_indices": 3, "feature_cls": "getter"}  # the last three blocks' tokens, as maps
STAGES = {"out_indices": (0, 1, 2, 3), "flatten_sequential": True}


def _create(cls: type[nn.Module], variant: str, pretrained: bool, features: dict, row: dict, words: dict) -> nn.Module:
    return build_model_with_cfg(
        cls, variant, pretrained, pretrained_filter_fn=checkpoint_filter_fn, feature_cfg={**features}, **(row | words)
    )


# The paper's Table 1 has -13.2 % parameters and -15.2 % FLOPs for PVTv2-B1, -13.9 % and -11.5 % for Next-ViT-S; its
# absolute numbers, and those of DeiT, are not known. The docstrings have what the deployed forms here save at 224 px.


@register_model
def hmhsa_deit_tiny(pretrained: bool = False, **words) -> HMHSADeiT:
    """DeiT-T: 5.87 M parameters; deployed 4.68 M (-18.15 %), 1.026 GMACs by fvcore (-18.46 %)."""
    row = {"patch_size": 16, "embed_dim": 192, "depth": 12}
    return _create(HMHSADeiT, "hmhsa_deit_tiny", pretrained, GETTER, row, words)


@register_model
def hmhsa_deit_small(pretrained: bool = False, **words) -> HMHSADeiT:
    """DeiT-S: 22.62 M parameters; deployed 17.90 M (-18.81 %), 3.744 GMACs by fvcore (-18.76 %)."""
    row = {"patch_size": 16, "embed_dim": 384, "depth": 12}
    return _create(HMHSADeiT, "hmhsa_deit_small", pretrained, GETTER, row, words)


@register_model
def hmhsa_pvt_v2_b1(pretrained: bool = False, **words) -> HMHSAPVTv2:
    """PVTv2-B1: 14.32 M parameters; deployed 12.15 M (-13.26 %), 1.800 GMACs by fvcore (-15.09 %)."""
    row = {"depths": (2, 2, 2, 2), "embed_dims": (64, 128, 320, 512)}
    return _create(HMHSAPVTv2, "hmhsa_pvt_v2_b1", pretrained, STAGES, row, words)


@register_model
def hmhsa_nextvit_small(pretrained: bool = False, **words) -> HMHSANextViT:
    """Next-ViT-S: 34.46 M parameters; deployed 27.25 M (-14.20 %), 5.125 GMACs by fvcore (-11.79 %).

    As in timm's base, drop_path_rate is 0.1 unless given.
    """
    row = {"depths": (3, 4, 10, 3), "drop_path_rate": 0.1}
    return _create(HMHSANextViT, "hmhsa_nextvit_small", pretrained, STAGES, row, words)
