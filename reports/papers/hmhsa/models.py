"""The models of hMHSA's table 1: each base, and what stands here for it with hMHSA and cFFN; their terms and rows."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from bench.spec import JsonScalar, Spec
from reports.ledger.check import Term
from reports.papers.drawn import of_models

COUNT = "macs_fvcore"  # of the explicit path, as most papers count, whatever route a model takes by default


class Changed(NamedTuple):
    """base and ours are registered names; printed and work are the base's and its own paper's in the claims, compacted
    is what the changed one is called there."""

    printed: str
    work: str
    compacted: str
    base: str
    ours: str


MODELS = (
    Changed("DeiT-T", "2012.12877", "DeiT-T + hMHSA + cFFN", "deit_tiny_patch16_224", "hmhsa_deit_tiny"),
    Changed("DeiT-S", "2012.12877", "DeiT-S + hMHSA + cFFN", "deit_small_patch16_224", "hmhsa_deit_small"),
    Changed("PVTv2-b1", "2106.13797", "PVTv2-b1 + hMHSA + cFFN", "pvt_v2_b1", "hmhsa_pvt_v2_b1"),
    Changed("NextViT-S", "2207.05501", "NextViT-S + hMHSA + cFFN", "nextvit_small", "hmhsa_nextvit_small"),
)
NAMES = tuple(name for one in MODELS for name in (one.base, one.ours))


def term(
    model: str,
    metric: str,
    side: int = 224,
    batch: int | None = None,
    arguments: Mapping[str, JsonScalar] = {},
) -> Term:
    """A metric of a model at a square size, at that batch alone, or at any."""
    return Term(Spec(model, size=(side, side), model_args=tuple(arguments.items())), metric, batch)


def as_compared(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the models as table 1 compares them: no argument changed, at 224 px, deployed."""
    rows = of_models(frame, NAMES)
    plain = (rows["arguments"] == "") & (rows["size"] == "224")
    return rows[plain & (rows["mode"] == "infer") & (rows["form"] != "training")]
