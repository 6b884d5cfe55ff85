"""Which model is compared with which: what a paper changed, and the base that it changed. Data alone."""

from collections.abc import Mapping
from typing import NamedTuple


class Base(NamedTuple):
    """model: the registered name of the base; paper: arXiv id of the paper that changes it."""

    model: str
    paper: str


BASES: Mapping[str, Base] = {
    "hmhsa_deit_tiny": Base("deit_tiny_patch16_224", "2306.10875"),
    "hmhsa_deit_small": Base("deit_small_patch16_224", "2306.10875"),
    "hmhsa_pvt_v2_b1": Base("pvt_v2_b1", "2306.10875"),
    "hmhsa_nextvit_small": Base("nextvit_small", "2306.10875"),
}


def untagged(model: str) -> str:
    """`model` without timm's tag of its weights: `pvt_v2_b1.in1k` is a `pvt_v2_b1`."""
    return model if ":" in model else model.split(".")[0]  # package.module:function is a user's own
