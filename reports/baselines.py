"""Which model is compared with which: what a paper changed or built, and what it holds it against. Data alone."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

HMHSA, GREENMIM, ESVIT, BEITV2 = "2306.10875", "2205.13515", "2106.09785", "2208.06366"  # arXiv ids


class Base(NamedTuple):
    """model: the registered name of the base; paper: arXiv id of the paper that compares with it.

    size: (of the model, of the base), as the frame writes them, where they differ; None is any, the same of both.
    arguments: what the base's constructor is given, whatever the model's is.
    mode: the only one in which they are compared, where a model has others too.
    """

    model: str
    paper: str
    size: tuple[str, str] | None = None
    arguments: Mapping[str, float | str] = {}
    mode: str = ""


def _masked(model: str, *dense: Base) -> tuple[Base, ...]:
    """The bases of a GreenMIM: those that encode masked tokens too, and itself with none masked."""
    return (*dense, Base(model, GREENMIM, arguments={"mask_ratio": 0}))


# EsViT's models, as the paper sorts them: one grid of tokens from first to last, or a coarser one each stage.
STAGES: Mapping[str, str] = {
    **dict.fromkeys(("esvit_deit_small", "esvit_vit_base"), "mono-stage"),
    **dict.fromkeys(("esvit_swin_tiny", "esvit_swin_small", "esvit_swin_base"), "multi-stage"),
    **dict.fromkeys(("esvit_vil_2262", "esvit_cvt_tiny", "esvit_resnet50"), "multi-stage"),
}

_MIM, _VQ_KD = ("beitv2_mim_base", "beitv2_mim_large"), ("beitv2_vqkd_base",)
TRAINED: Mapping[str, str] = {  # what a step of BEiT v2's pre-training trains
    **dict.fromkeys(_MIM, "masked image modelling"),
    **dict.fromkeys(_VQ_KD, "tokenizer"),
}


def _without(models: Iterable[str], **arguments: float | str) -> Mapping[str, tuple[Base, ...]]:
    """Steps of BEiT v2, each with itself given these arguments as its base."""
    return {model: (Base(model, BEITV2, arguments=arguments, mode="pretrain"),) for model in models}


BASES: Mapping[str, tuple[Base, ...]] = {
    "hmhsa_deit_tiny": (Base("deit_tiny_patch16_224", HMHSA),),
    "hmhsa_deit_small": (Base("deit_small_patch16_224", HMHSA),),
    "hmhsa_pvt_v2_b1": (Base("pvt_v2_b1", HMHSA),),
    "hmhsa_nextvit_small": (Base("nextvit_small", HMHSA),),
    **{
        f"greenmim_{body}": _masked(
            f"greenmim_{body}",
            Base(f"simmim_{body}", GREENMIM),
            Base(f"simmim_{body}", GREENMIM, size=("224", "192")),  # SimMIM's own recipe
        )
        for body in ("swin_micro", "swin_tiny", "swin_base", "swin_large")
    },
    "greenmim_twins_large": _masked("greenmim_twins_large"),
    **{model: (Base(model, ESVIT, arguments={"loss": "view"}, mode="pretrain"),) for model in STAGES},
    **_without(_MIM, cls_head="False"),
    **_without(_VQ_KD, decoder_depth=1),
}


def models_of(paper: str) -> list[str]:
    """The models that a paper compares with their bases."""
    return [model for model, (first, *_) in BASES.items() if first.paper == paper]


def untagged(model: str) -> str:
    """`model` without timm's tag of its weights: `pvt_v2_b1.in1k` is a `pvt_v2_b1`."""
    return model if ":" in model else model.split(".")[0]  # package.module:function is a user's own
