"""The rows of EsViT's tables 1 and 4 (arXiv:2106.09785), and the models here that stand for them. Data alone."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from reports import arguments
from reports.baselines import untagged
from reports.claims import load

PAPER = "EsViT (arXiv 2106.09785, ICLR 2022)"
TABLE_1, TABLE_4, TABLE_5 = "Table 1", "Table 4", "Table 5"
_BATCH_NORM = "with layer norm where theirs has batch norm"
_NOTHING = "not measured: no such model here"


class Entry(NamedTuple):
    """A row of a table: what the claims call it; the registered model that is built like it, none if "", with exactly
    these arguments; a note on that; what the claims call its accuracies, where they go by another name."""

    printed: str
    model: str = ""
    arguments: Mapping[str, float | str] = {}
    note: str = ""
    trained: str = ""
    source: str = TABLE_1

    @property
    def here(self) -> str:
        """The model as words, or why there is none."""
        words = " ".join([self.model, *(f"{name}={value}" for name, value in self.arguments.items())])
        return " ".join(filter(None, (words, f"({self.note})" if self.note else ""))) if self.model else self.note

    def holds(self, model: str, words: str) -> bool:
        """Whether a cell of `model` with `words` as arguments is of this row, whatever its classifier."""
        given = arguments.read(arguments.without(words, "num_classes"))
        return bool(self.model) and untagged(model) == self.model and given == self.arguments


_VIT_B8, _VIT_L7 = "DINO, ViT-B/8", "MoCo-v3, ViT-L-BN/7"
PEERS = (_VIT_B8, _VIT_L7, "SimCLR-v2, RN152w3+SK")  # what the paper holds its models against
DEIT = "DeiT (DeiT-S/16)"  # what table 4's other rows are held against here

# In the paper's order, which is that of the claims; a test holds it.
PRINTED_1 = (
    Entry("SwAV, RN50w5", note=_NOTHING),
    Entry("BYOL, RN200w2", note=_NOTHING),
    Entry(PEERS[2], note=f"{_NOTHING} (SK-ResNet-152x3)"),
    Entry("DINO, DeiT-S/8", "vit_small_patch8_224"),
    Entry(_VIT_B8, "vit_base_patch8_224"),
    Entry("MoCo-v3, ViT-B-BN/7", "vit_base_patch16_224", {"patch_size": 7}, _BATCH_NORM),
    Entry(_VIT_L7, "vit_large_patch16_224", {"patch_size": 7}, _BATCH_NORM),
    Entry("iGPT, iGPT-XL", note=_NOTHING),
    Entry("EsViT, Swin-S/W=14", "esvit_swin_small", {"window": 14}),
    Entry("EsViT, Swin-B/W=14", "esvit_swin_base", {"window": 14}),
    Entry("Masked Patch Pred., ViT-B/16 (JFT-300M, fine-tuned)", "esvit_vit_base"),
    Entry("DINO, DeiT-S/16", "esvit_deit_small"),
    Entry("DINO, ViT-B/16", "esvit_vit_base"),
    Entry("MoCo-v3, ViT-B/16", "esvit_vit_base"),
    Entry("MoCo-v3, ViT-H-BN/16", note=_NOTHING),
    Entry("MoBY, Swin-T", "esvit_swin_tiny"),
    Entry("EsViT, Swin-T/W=7", "esvit_swin_tiny"),
    Entry("EsViT, Swin-S/W=7", "esvit_swin_small"),
    Entry("EsViT, Swin-B/W=7", "esvit_swin_base"),
)
PRINTED_4 = tuple(
    one._replace(source=TABLE_4)
    for one in (
        Entry(DEIT, "esvit_deit_small", trained=f"{DEIT}, L_V"),
        Entry("ResNet-50", "esvit_resnet50", trained="ResNet-50, L_V+L_R"),
        Entry("Swin 2-2-6-2", "esvit_swin_tiny", trained="Swin 2-2-6-2, L_V+L_R"),
        Entry("ViL 2-2-6-2", "esvit_vil_2262", trained="ViL 2-2-6-2, L_V+L_R"),
        Entry("CvT 2-2-6-2", "esvit_cvt_tiny", trained="CvT 2-2-6-2, L_V+L_R"),
        Entry("PvT 2-2-6-2", note="not measured: not in the official code", trained="PvT 2-2-6-2, L_V+L_R"),
    )
)
# In neither table, or in table 4 alone: for the picture of accuracies.
PRINTED_ELSEWHERE = (
    *(one for one in PRINTED_4 if one.model in ("esvit_resnet50", "esvit_vil_2262", "esvit_cvt_tiny")),
    Entry("Swin-T W=14, L_V+L_R", "esvit_swin_tiny", {"window": 14}, source=TABLE_5),
)

# What the paper says of one row against another: claims by (row, peer). That of SimCLR-v2 names no model of EsViT's; by
# its numbers (794 M / 49 M, 383 / 46 images/s) it is this one.
SAID = {
    ("EsViT, Swin-B/W=14", _VIT_L7): {"params": "esvit-070", "throughput": "esvit-071"},
    ("EsViT, Swin-B/W=7", _VIT_B8): {"throughput": "esvit-072"},
    ("EsViT, Swin-S/W=14", PEERS[2]): {"params": "esvit-073", "throughput": "esvit-074"},
}


def entry(printed: str) -> Entry:
    """The row of table 1 or 4 of that name."""
    return next(one for one in (*PRINTED_1, *PRINTED_4) if one.printed == printed)


def claims_of(*sources: str) -> pd.DataFrame:
    """The claims of tables of the paper; columns as `reports.claims.load`."""
    claims = load()
    return claims[(claims["paper"] == PAPER) & claims["source"].isin(sources)]


def published(one: Entry) -> dict[str, str]:
    """The text of each number that the paper prints of a row, by the claims' metric: `~17` where it is marked so.

    params (M), throughput (images/s), linear (%), kNN (%).
    """
    claims = claims_of(one.source)
    rows = claims[claims["model"].isin([one.printed, one.trained])]
    return {
        row["metric"]: ("~" if row["conditions"].startswith("ESTIMATED") else "") + row["value"]
        for row in rows.to_dict("records")
    }


def number_of(text: str | None) -> float:
    """A published text as the number that it is; NaN where there is none."""
    return float((text or "nan").removeprefix("~"))
