"""The papers' numbers, as data: `claims/*.csv`, each row with its table, its conditions and where it was read."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd

from reports.baselines import GREENMIM, models_of

_FOLDER = Path(__file__).parent / "claims"

# The registered name of a model that the papers call by another; classification at 224 px on ImageNet-1K.
_MODELS = {
    "SG-Former-S": "sgformer_s",
    "SG-Former-M": "sgformer_m",
    "SG-Former-B": "sgformer_b",
    "DeiT-T": "deit_tiny_patch16_224",
    "DeiT-S": "deit_small_patch16_224",
    "DeiT-B": "deit_base_patch16_224",
    "Swin-T": "swin_tiny_patch4_window7_224",
    "Swin-S": "swin_small_patch4_window7_224",
    "Swin-B": "swin_base_patch4_window7_224",
    "PVTv2-b1": "pvt_v2_b1",
    "NextViT-S": "nextvit_small",
    "PVTv2-b1 + hMHSA + cFFN": "hmhsa_pvt_v2_b1",
    "NextViT-S + hMHSA + cFFN": "hmhsa_nextvit_small",
}
# Those that a claim on steps of pre-training speaks of.
_STEPS = {
    "GreenMIM (Swin and Twins)": models_of(GREENMIM),
    "GreenMIM Swin-B": ["greenmim_swin_base"],
    "monolithic": ["esvit_deit_small"],  # of which the paper's cost of the region loss is
    "multi-stage": ["esvit_swin_tiny"],
}
_REDUCTIONS = {"params_reduction": "params", "flops_reduction": "macs_fvcore"}  # most papers' FLOPs are fvcore's count


@cache
def load() -> pd.DataFrame:
    """All claims. Columns: id, paper, source, model, metric, value, unit, conditions, provenance, confidence.

    Values are the text that was read: some are words ("fastest at similar accuracy"). confidence is `confirmed`, or
    `secondary` where the number was read in somebody's quotation.
    """
    return pd.concat(
        [pd.read_csv(path, dtype=str, keep_default_na=False) for path in sorted(_FOLDER.glob("*.csv"))],
        ignore_index=True,
    )


def published_top1() -> pd.DataFrame:
    """Published ImageNet-1K top-1 accuracy at 224 px of registered models, trained with labels only; a row a model.

    Columns: name (registered), top1 (%), and id, model, source, provenance, confidence of the claim. Where several
    rows speak of a model, a confirmed one goes before a secondary one, then the first in the files.
    """
    claims = load()
    rows = claims[
        (claims["metric"] == "top1")
        & claims["model"].isin(list(_MODELS))
        & claims["conditions"].str.contains("224", regex=False)
    ]
    rows = rows.sort_values("confidence", kind="stable").drop_duplicates("model")  # confirmed < secondary
    return rows.assign(name=rows["model"].map(_MODELS), top1=rows["value"].astype(float))[
        ["name", "top1", "id", "model", "source", "provenance", "confidence"]
    ].reset_index(drop=True)


def published_reductions() -> pd.DataFrame:
    """By how much papers say that a registered model changes its base, at 224 px; a row a number.

    Columns: name (registered), metric (the one of ours that counts the same), change_percent (negative: less), and id,
    paper, source, provenance, confidence of the claim.
    """
    claims = load()
    rows = claims[claims["metric"].isin(list(_REDUCTIONS)) & claims["model"].isin(list(_MODELS))]
    return rows.assign(
        name=rows["model"].map(_MODELS),
        metric=rows["metric"].map(_REDUCTIONS),
        change_percent=-rows["value"].astype(float),
    )[["name", "metric", "change_percent", "id", "paper", "source", "provenance", "confidence"]].reset_index(drop=True)


def published_steps(metrics: Iterable[str]) -> pd.DataFrame:
    """What papers say of a step of their models against another's; a row a number, in the order of `metrics`.

    Columns: names (registered), metric and value (the claim's words), unit, conditions, and id, paper, source,
    provenance, confidence of the claim.
    """
    claims = load()
    claims = claims[claims["model"].isin(list(_STEPS))]
    rows = pd.concat([claims[claims["metric"] == metric] for metric in metrics])
    return rows.assign(names=rows["model"].map(_STEPS)).reset_index(drop=True)
