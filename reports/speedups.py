"""What a paper prints of its pre-training step beside what was measured here of the same, each in the paper's terms."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from reports.arguments import without
from reports.baselines import ALL_TOKENS, BASES, SIMMIM, VIEW_LOSS, untagged
from reports.claims import published_steps
from reports.format import number
from reports.frame import series
from reports.reductions import quotient
from reports.tables import MEMORY

Row = dict[Any, Any]  # of `reductions.changes`: column -> value


class Terms(NamedTuple):
    """metrics: those of ours that may stand beside a claim, the best first; said: our quotient as the claim says it;
    bases: the kinds of bases that the claim speaks of; batch: the one that it is of, where that is known."""

    metrics: tuple[str, ...]
    said: Callable[[float], float]
    bases: tuple[str, ...]
    batch: int | None = None


_DENSE = (SIMMIM, ALL_TOKENS)
_ARTICLE = 12  # images a GPU, in the article that quotes EsViT's appendix; what its main text says is of no known batch
TERMS: Mapping[str, Terms] = {
    "train speed-up vs SimMIM-style dense encoding": Terms(("throughput",), lambda share: share, _DENSE),
    "training time relative to SimMIM": Terms(("throughput",), lambda share: 1 / share, (SIMMIM,)),
    "GPU memory saving": Terms(MEMORY, lambda share: 100 * (1 - share), _DENSE),  # "relative to dense encoding"
    "GPU memory relative to SimMIM": Terms(MEMORY, lambda share: share, (SIMMIM,)),
    "memory_ratio_LV+LR_over_LV": Terms(MEMORY, lambda share: share, (VIEW_LOSS,)),
    "memory_growth_LV+LR_over_LV": Terms(MEMORY, lambda share: share, (VIEW_LOSS,), _ARTICLE),
    "time_ratio_LV+LR_over_LV": Terms(("throughput",), lambda share: 1 / share, (VIEW_LOSS,)),
    "time_growth_LV+LR_over_LV": Terms(("throughput",), lambda share: 1 / share, (VIEW_LOSS,), _ARTICLE),
}
_UNITS = {"x": "x", "%": " %", "ratio": ""}


def table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A row a claim and model of `frame` that it speaks of, as words; rows: `reductions.changes`.

    Of ours stand there: mode pretrain at 224 px, without arguments but the route to the same step; against each base
    that the claim speaks of, at the claim's batch or, where that was not measured, the largest with that base.
    """
    alike = rows[(rows["mode"] == "pretrain") & (rows["size"] == "224")]
    alike = alike[alike["arguments"].map(_plain).astype(bool)]
    alike = alike.assign(series=series(alike, "batch"))
    models = [
        untagged(model)
        for model, mode in frame[["model", "mode"]].drop_duplicates().to_numpy()
        if any(base.mode in ("", mode) for base in BASES.get(untagged(model), ()))
    ]
    words = []
    for claim in published_steps(TERMS).to_dict("records"):
        for model in dict.fromkeys(models):
            if model in claim["names"]:
                own = _beside(alike[alike["model"].map(untagged) == model], TERMS[claim["metric"]])
                for name, found in list(own.groupby("series", sort=False)) or [(model, own)]:
                    words.append({"model": name, **_row(claim, found)})
    return pd.DataFrame(words)


def _plain(words: str) -> bool:
    """Whether arguments leave the step as the paper has it. Of EsViT's losses the view loss alone is no model's row of
    `reductions.changes`: it is the base."""
    return not without(words, "impl", "loss")


def _beside(rows: pd.DataFrame, terms: Terms) -> pd.DataFrame:
    """Of each series and base that may stand beside a claim, the row of its first metric, at one batch."""
    kinds = [BASES[untagged(model)][base].kind for model, base in rows[["model", "base"]].to_numpy()]
    kind = pd.Series(kinds, index=rows.index, dtype=str)
    rows = rows[kind.isin(terms.bases) & rows["metric"].isin(terms.metrics)]

    def size(batch: int) -> int:
        return sys.maxsize if batch == terms.batch else batch

    for column, best in (("metric", lambda name: -terms.metrics.index(name)), ("batch", size)):
        rank = rows[column].map(best).astype(int)
        rows = rows[rank == rank.groupby([rows["series"], rows["base"]]).transform("max")]
    return rows


def _row(claim: Row, found: pd.DataFrame) -> Row:
    unit = _unit(claim)
    apart = found["batch"].nunique() > 1
    words = [_word(row, claim["metric"], unit, apart) for row in found.to_dict("records")]
    return {
        "of": claim["metric"].replace("_", " "),
        "published": said(claim),
        "measured": "; ".join(words) or "-",
        "batch": ", ".join(map(str, found["batch"].unique())) or "-",
        "conditions": claim["conditions"],
        "source": f"{claim['source']} of {claim['paper']}",
        "read in": claim["provenance"],
        "confidence": claim["confidence"],
        "id": claim["id"],
    }


def said(claim: Row) -> str:
    """A claim's number in its own words: `2.7x`, `4x (nearly)`."""
    return " ".join([f"{claim['value']}{_unit(claim)}", *claim["unit"].split(" ")[1:]])


def _unit(claim: Row) -> str:
    return _UNITS[claim["unit"].split(" ")[0]]


def _word(row: Row, metric: str, unit: str, apart: bool) -> str:
    """`1.75x (1.60 to 1.90) of simmim_swin_tiny 192 px`, in terms of a claim's `metric`; apart: with its batch."""
    share, *bounds = (TERMS[metric].said(one) for one in quotient(row))
    interval = "" if pd.isna(bounds).any() else " ({} to {})".format(*(number(one, 3) for one in sorted(bounds)))
    predicted = ", predicted" if row["metric"] == "peak_live_bytes" else ""
    batch = f" at batch {row['batch']}" if apart else ""
    return f"{number(share, 3)}{unit}{interval} of {row['against']}{batch}{predicted}"
