"""The rows of EsViT's tables 1 and 4 (arXiv:2106.09785), and the models here that stand for them. Data alone."""

from collections.abc import Mapping
from typing import NamedTuple

from bench.spec import JsonScalar, Spec

TABLE_1, TABLE_4 = "Table 1", "Table 4"  # as the claims call them
_BATCH_NORM = "with layer norm where theirs has batch norm"


class Entry(NamedTuple):
    """A row of a table: what the claims call it; the registered model that is built like it, none if "", with exactly
    these arguments; a note on that."""

    printed: str
    model: str = ""
    arguments: Mapping[str, JsonScalar] = {}
    note: str = ""

    @property
    def here(self) -> str:
        """The model as words; "" where there is none."""
        words = " ".join([self.model, *(f"{name}={value}" for name, value in self.arguments.items())])
        return f"{words} ({self.note})" if self.note else words

    @property
    def spec(self) -> Spec:
        """The backbone by itself, which the paper's numbers are of: timm's models have a classifier otherwise."""
        headless = {} if self.model.startswith("esvit") else {"num_classes": 0}
        return Spec(self.model, model_args=tuple({**self.arguments, **headless}.items()))


# What other rows are held against here.
DINO = Entry("DINO, ViT-B/8", "vit_base_patch8_224")
DEIT = Entry("DeiT (DeiT-S/16)", "esvit_deit_small")

# In the paper's order, which is that of the claims; a test holds it.
PRINTED_1 = (
    Entry("SwAV, RN50w5"),
    Entry("BYOL, RN200w2"),
    Entry("SimCLR-v2, RN152w3+SK"),
    Entry("DINO, DeiT-S/8", "vit_small_patch8_224"),
    DINO,
    Entry("MoCo-v3, ViT-B-BN/7", "vit_base_patch16_224", {"patch_size": 7}, _BATCH_NORM),
    Entry("MoCo-v3, ViT-L-BN/7", "vit_large_patch16_224", {"patch_size": 7}, _BATCH_NORM),
    Entry("iGPT, iGPT-XL"),
    Entry("EsViT, Swin-S/W=14", "esvit_swin_small", {"window": 14}),
    Entry("EsViT, Swin-B/W=14", "esvit_swin_base", {"window": 14}),
    Entry("Masked Patch Pred., ViT-B/16 (JFT-300M, fine-tuned)", "esvit_vit_base"),
    Entry("DINO, DeiT-S/16", "esvit_deit_small"),
    Entry("DINO, ViT-B/16", "esvit_vit_base"),
    Entry("MoCo-v3, ViT-B/16", "esvit_vit_base"),
    Entry("MoCo-v3, ViT-H-BN/16"),
    Entry("MoBY, Swin-T", "esvit_swin_tiny"),
    Entry("EsViT, Swin-T/W=7", "esvit_swin_tiny"),
    Entry("EsViT, Swin-S/W=7", "esvit_swin_small"),
    Entry("EsViT, Swin-B/W=7", "esvit_swin_base"),
)
PRINTED_4 = (
    DEIT,
    Entry("ResNet-50", "esvit_resnet50"),
    Entry("Swin 2-2-6-2", "esvit_swin_tiny"),
    Entry("ViL 2-2-6-2", "esvit_vil_2262"),
    Entry("CvT 2-2-6-2", "esvit_cvt_tiny"),
    Entry("PvT 2-2-6-2"),
)
