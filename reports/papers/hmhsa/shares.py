"""hMHSA's figure 1b: what share of a ViT attention and FFNs have."""

import pandas as pd

from reports import shares as costs
from reports.baselines import untagged
from reports.figures import Picture
from reports.figures.cost_shares import draw
from reports.format import percent
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, table
from reports.papers.hmhsa.models import MODELS, as_compared

_KINDS = {"attention": "attention", "FFN": "FFNs"}
_COSTS = {"params": "parameters", "macs": "MACs"}

_TEXT = """
The paper draws that attention and FFNs have most of a ViT's cost; its percentages are in no text that was found. The
rest is convolution, norms, embeddings and the head. MACs are of products and convolutions alone.
"""
_NONE = Picture(
    "cost_shares", "What the cost is made of", "Not drawn: no record has `params` or `macs` of these models."
)


def shares(evidence: Evidence) -> Exhibit:
    """Shares of parameters and MACs, of each base and of what the paper makes of it; with time as a picture."""
    frame = as_compared(evidence.frame)
    parts = costs.parts(frame)
    rows: list[dict[str, str | Pair]] = [
        {
            "model": words,
            **{
                f"{said} of {cost} (%)": _share(parts, model, metric, kind)
                for metric, cost in _COSTS.items()
                for kind, said in _KINDS.items()
            },
        }
        for one in MODELS
        for words, model in ((one.printed, one.base), (f"{one.printed} with hMHSA, cFFN", one.ours))
    ]
    return Exhibit(
        "hmhsa-shares",
        "Shares of attention and FFNs",
        "hMHSA and cFFN, figure 1b",
        _TEXT.strip(),
        (table(rows, "Shares at 224 px"),),
        tuple(drawn("hmhsa", draw, frame, _NONE)),
    )


def _share(parts: pd.DataFrame, model: str, metric: str, kind: str) -> Pair:
    """The share of a kind of module, of one image; counts are the same in every cell."""
    own = parts[parts["model"].map(untagged).eq(model).astype(bool) & (parts["metric"] == metric)]
    if own.empty:
        return Pair(missing=f"no {metric} of {model} is recorded")
    one = own[own["id"] == own["id"].iloc[-1]]
    return Pair(measured=percent(one.loc[one["kind"] == kind, "share"].sum()).removesuffix(" %"))
