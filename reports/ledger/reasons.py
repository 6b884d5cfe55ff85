"""Why claims that could be tested are not, one by one; and the words that say so of many. Data alone."""

from collections.abc import Mapping

_THEIRS = "no such model in the zoo or timm"

REASONS: Mapping[str, str] = {
    "sgformer-062": "of a whole segmentor, which is not released",
    "sgformer-068": "of an attention module by itself, at one width: models alone are measured",
    "greenmim-069": _THEIRS,
    "greenmim-070": _THEIRS,
    "greenmim-201": "resolution and batch are not stated",
    "greenmim-225": f"{_THEIRS}; against what is not stated",
    "greenmim-230": _THEIRS,
    "greenmim-233": _THEIRS,
    "esvit-073": f"{_THEIRS} (SK-ResNet-152x3)",
    "esvit-074": f"{_THEIRS} (SK-ResNet-152x3)",
}

# Of counts and speeds whose model, source or conditions have one of these words.
WHOLE: Mapping[str, str] = {
    "whole detector": "of a whole detector, which is not released",
    "whole segmentor": "of a whole segmentor, which is not in the zoo",
    "UPerNet": "of a whole segmentor, which is not in the zoo",
    "UperNet": "of a whole segmentor, which is not in the zoo",
    "fine-tuning for segmentation": "of a whole segmentor, which is not in the zoo",
}

_CONVERTED = "very probably converted, not measured: Swin's own figure on a V100, {} images/s, times 1007 / 940.4"
NOTES: Mapping[str, str] = {  # on how single claims are to be read
    **dict.fromkeys(("esvit-055", "esvit-058", "esvit-105"), _CONVERTED.format("755.2")),
    "esvit-062": _CONVERTED.format("436.9"),
    "esvit-066": _CONVERTED.format("278.1"),
    "beitv2-001": "as listed there, without a classifier",
    "beitv2-002": "as listed there, without a classifier",
    "beitv2-068": "said to be of a ViT-B/16 without relative positions, which cost no product",
}
