"""Which registered model stands for a printed one, of which counts and speeds are claimed. Data alone.

Rows of EsViT's tables are those of `reports.roster`. Where printed names come from: the claims' own files.
"""

from collections.abc import Mapping
from typing import NamedTuple

from bench.spec import JsonScalar
from reports.roster import PRINTED_1, PRINTED_4


class Build(NamedTuple):
    """A registered model, at a size in pixels, with exactly these arguments; a note on how that reads the claim."""

    model: str
    size: int = 224
    arguments: Mapping[str, JsonScalar] = {}
    note: str = ""
    mode: str = "infer"


def _at_its_own(model: str, size: int) -> Build:
    return Build(model, size, note=f"at its own {size} px, which the numbers are of; the table says 224")


_OTHERS = ((7, "V"), (7, "V+R"))  # window and losses of EsViT's README
_SWINS = (*_OTHERS, (14, "V+R"))

# By printed name and the image's side that the claim names, 224 where it names none.
BUILDS: Mapping[tuple[str, int], Build] = {
    **{
        (one.printed, 224): Build(one.model, arguments=dict(one.arguments), note=one.note)
        for one in (*PRINTED_1, *PRINTED_4)
        if one.model
    },
    ("SG-Former-S", 224): Build(
        "sgformer_s", note="as the released code builds it; its paper's text says 24.2 M, its tables 23 M"
    ),
    ("SG-Former-M", 224): Build("sgformer_m", note="as the released code builds it"),
    ("SG-Former-B", 224): Build(
        "sgformer_b",
        note="as the released code builds it, with two scales of attention; the paper's text has up to four",
    ),
    ("DeiT-T", 224): Build("deit_tiny_patch16_224"),
    ("DeiT-S", 224): Build("deit_small_patch16_224"),
    ("DeiT-B", 224): Build("deit_base_patch16_224"),
    ("DeiT-B", 384): Build("deit_base_patch16_384", 384),
    ("Swin-T", 224): Build("swin_tiny_patch4_window7_224"),
    ("Swin-S", 224): Build("swin_small_patch4_window7_224"),
    ("Swin-B", 224): Build("swin_base_patch4_window7_224"),
    ("Swin-B", 384): Build("swin_base_patch4_window12_384", 384),
    ("Swin-L", 224): Build("swin_large_patch4_window7_224"),
    ("Swin-L", 384): Build("swin_large_patch4_window12_384", 384),
    ("ConvNeXt-T", 224): Build("convnext_tiny"),
    ("ConvNeXt-S", 224): Build("convnext_small"),
    ("ConvNeXt-B", 224): Build("convnext_base"),
    ("ConvNeXt-B", 384): Build("convnext_base", 384),
    ("InceptionNeXt-T", 224): Build("inception_next_tiny"),
    ("InceptionNeXt-S", 224): Build("inception_next_small"),
    ("InceptionNeXt-B", 224): Build("inception_next_base"),
    ("InceptionNeXt-B", 384): Build("inception_next_base", 384),
    ("EfficientNet-B4", 224): _at_its_own("efficientnet_b4", 380),
    ("EfficientNet-B5", 224): _at_its_own("efficientnet_b5", 456),
    ("EfficientNet-B6", 224): _at_its_own("efficientnet_b6", 528),
    ("MaxViT-T", 224): Build("maxvit_tiny_tf_224"),
    ("MaxViT-S", 224): Build("maxvit_small_tf_224"),
    ("MaxViT-B", 224): Build("maxvit_base_tf_224"),
    ("GC-ViT-XT", 224): Build("gcvit_xtiny"),
    ("PVTv2-b1", 224): Build("pvt_v2_b1"),
    ("NextViT-S", 224): Build("nextvit_small"),
    ("NextViT-S", 384): Build("nextvit_small", 384),
    # Fine-tuned classifiers of masked pre-training are Swins and ViTs.
    **dict.fromkeys(
        (
            (name, 224)
            for name in (
                "GreenMIM Swin-B",
                "GreenMIM Swin-B window 7",
                "LocalMIM Swin-B pixel",
                "LocalMIM Swin-B HOG",
                "FastMIM Swin-B",
            )
        ),
        Build("swin_base_patch4_window7_224"),
    ),
    ("GreenMIM Swin-L window 14", 224): Build("swin_large_patch4_window7_224", arguments={"window_size": 14}),
    ("LocalMIM Swin-L HOG", 224): Build("swin_large_patch4_window7_224", arguments={"window_size": 14}),
    ("LocalMIM ViT-B HOG", 224): Build("vit_base_patch16_224"),
    ("LocalMIM ViT-L HOG", 224): Build("vit_large_patch16_224"),
    ("FastMIM ViT-B", 224): Build("vit_base_patch16_224"),
    # DINO's models, some of which EsViT's zoo has.
    ("ViT-S/16", 224): Build("esvit_deit_small"),
    ("ViT-B/16", 224): Build("esvit_vit_base"),
    ("ViT-S/8", 224): Build("vit_small_patch8_224", arguments={"num_classes": 0}),
    ("ViT-B/8", 224): Build("vit_base_patch8_224", arguments={"num_classes": 0}),
    ("iBOT, ViT-L/16", 224): Build("vit_large_patch16_224", arguments={"num_classes": 0}),
    ("ViT/DeiT patch 16", 224): Build("esvit_deit_small"),
    ("4-stage ViT (Swin etc.)", 224): Build("esvit_swin_tiny"),
    ("EsViT, Swin-T/W=14", 224): Build("esvit_swin_tiny", arguments={"window": 14}),
    # EsViT's README: `V`, `V+R` are the losses, which the backbone doesn't know of.
    **{
        (f"{printed} W={window}, {losses}", 224): Build(model, arguments={} if window == 7 else {"window": window})
        for printed, model, rows in (
            ("Swin-T", "esvit_swin_tiny", _SWINS),
            ("Swin-S", "esvit_swin_small", _SWINS),
            ("Swin-B", "esvit_swin_base", _SWINS),
            ("ViL", "esvit_vil_2262", _OTHERS),
            ("CvT", "esvit_cvt_tiny", _OTHERS),
        )
        for window, losses in rows
    },
    ("ResNet-50, V", 224): Build("esvit_resnet50"),
    ("ResNet-50, V+R", 224): Build("esvit_resnet50"),
    ("BEiT v2", 224): Build("beitv2_base"),
    ("BEiT v2 ViT-B/16", 224): Build("beitv2_base"),
    ("BEiT v2 ViT-L/16", 224): Build("beitv2_large"),
    ("BEiT v2 ViT-B/16 pre-training model incl. frozen tokenizer", 224): Build("beitv2_mim_base", mode="pretrain"),
    # timm's own results.
    **{
        (model, size): Build(model, size)
        for model, size in (
            ("beitv2_base_patch16_224", 224),
            ("beitv2_large_patch16_224", 224),
            ("beit_base_patch16_384", 384),
            ("beit_large_patch16_384", 384),
        )
    },
    **{
        (f"{model} (architecture identical to BEiT v2)", size): Build(model, size)
        for model, size in (
            ("beit_base_patch16_224", 224),
            ("beit_large_patch16_224", 224),
            ("beit_base_patch16_384", 384),
            ("beit_large_patch16_384", 384),
        )
    },
    ("simmim_swin-base-w6 192px", 224): Build("simmim_swin_base", 192, mode="pretrain"),
}

# Those that stand for none, and why.
_NO_MODEL = "no such model in the zoo or timm"
_UNSAID = "which variant is meant is not stated"
MISSING: Mapping[str, str] = {
    **{one.printed: _NO_MODEL for one in (*PRINTED_1, *PRINTED_4) if not one.model},
    **{
        f"{family}-{size}": _NO_MODEL
        for family, sizes in {
            "CSWin": "T S B",
            "Focal": "T S B",
            "MPViT": "XS S B",
            "BiFormer": "T S B",
            "SMT": "T S B L",
            "CMT": "S B",
            "RMT": "T S B L",
            "RMT-Swin": "T S",
        }.items()
        for size in sizes.split()
    },
    # timm's iformer_* are another family of this name (iFormer, ICLR 2025).
    **dict.fromkeys(("iFormer-S", "iFormer-B", "iFormer-L"), f"{_NO_MODEL} (timm's iformer_* are others)"),
    **dict.fromkeys(("GreenMIM", "SimMIM", "HiViT", "MixMAE", "ViT-MAE"), _UNSAID),
    "BEiT v2 pre-training (16x V100)": "an absolute speed derived from a remark, on hardware of its own",
}
