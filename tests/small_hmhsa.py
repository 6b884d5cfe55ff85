"""hMHSA models for the tests of the family: their bases, and small ones in which every argument matters."""

import timm
import torch

from bench.model import fused_attention
from tests.detfill import fill

BASES = {
    "hmhsa_deit_tiny": "deit_tiny_patch16_224",
    "hmhsa_deit_small": "deit_small_patch16_224",
    "hmhsa_pvt_v2_b1": "pvt_v2_b1",
    "hmhsa_nextvit_small": "nextvit_small",
}
PLAIN = {"hallucinate": False, "compact": False}
HALLUCINATE = [True, "copy", "ihh", "chh", "chh+ihh"]
# Small models with a block of each kind, in which every argument matters.
SMALL = {
    "hmhsa_deit_tiny": {"depth": 1, "img_size": (64, 96)},
    "hmhsa_pvt_v2_b1": {"depths": (1, 1), "embed_dims": (64, 64), "sr_ratios": (2, 1), "mlp_ratios": (4, 4)},
    "hmhsa_nextvit_small": {},
}


def on_meta(name, **words):
    with torch.device("meta"):
        return timm.create_model(name, **words).eval()


def small(name, fused=True, **words):
    """A small model in float64, with reproducible weights that leave its logits moderate."""
    torch.manual_seed(0)
    with fused_attention(fused):
        model = timm.create_model(name, num_classes=10, **{**SMALL[name], **words}).double().eval()
    return model if "nextvit" in name else fill(model)


def small_images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
