"""What a model's cost is made of, by kind of module: parameters, MACs, and time where it was measured."""

from collections.abc import Iterable

import pandas as pd

from reports.format import number
from reports.frame import CELL, IDENTITY, series

KINDS = ("attention", "FFN", "convolution", "norm", "embedding", "head", "other")
COSTS = {"params": "parameters", "macs": "MACs", "latency_parts": "time"}  # metric -> as a reader calls it


def parts(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a part of each cost: what identifies the value, then stage, kind, value and share (of the whole)."""
    return split(frame, COSTS, "stage", "kind")


def split(frame: pd.DataFrame, metrics: Iterable[str], *names: str) -> pd.DataFrame:
    """One row a part of each value of `metrics`: what identifies the value, then `names` (the words of a part), value
    and share (of the sum of the value's parts)."""
    rows = frame[frame["metric"].isin(list(metrics)) & (frame["status"] == "ok")]
    rows = rows.assign(part=[details.get("parts") for details in rows["details"]]).dropna(subset=["part"])
    rows = rows.explode("part", ignore_index=True).dropna(subset=["part"])
    found = pd.DataFrame(rows["part"].tolist(), index=rows.index, columns=[*names, "value"])
    rows = rows[IDENTITY].join(found.astype({"value": float}))
    return rows.assign(share=rows["value"] / rows.groupby([*CELL, "metric"])["value"].transform("sum"))


def by_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares of each cost: a row a series and kind, a column a cost, NaN where that cost was not split.

    Parameters and MACs of one image are the same at any batch; time is of the largest batch, whose calls the hooks
    that split it delay the least. The column `batch` says which. A training step has the parts of its forward pass, and
    no split time: it stands for a model only where mode infer was not asked.
    """
    rows = parts(frame)
    if rows.empty:
        return pd.DataFrame()
    infer = rows["mode"] == "infer"
    rows = rows[infer | ~infer.groupby([rows["model"], rows["arguments"]]).transform("any")]
    rows = rows.assign(
        series=series(rows, "batch"),
        cost=rows["metric"].map(COSTS),
        kind=rows["kind"].where(rows["kind"].isin(KINDS), "other"),
    )
    rows = rows[rows["batch"] == rows.groupby(["series", "metric"])["batch"].transform("max")]
    kinds = [kind for kind in KINDS if kind in set(rows["kind"])]
    every = pd.MultiIndex.from_product([rows["series"].unique(), kinds], names=["series", "kind"])
    shares = rows.pivot_table(index=["series", "kind"], columns="cost", values="share", aggfunc="sum").reindex(every)
    known = shares.groupby("series").transform("count") > 0
    shares = shares.fillna(0.0).where(known).reindex(columns=list(COSTS.values()))
    batch = rows[rows["cost"] == "time"].groupby("series")["batch"].first()
    return shares.reset_index().join(batch, on="series").rename_axis(columns=None)


def against_time(frame: pd.DataFrame) -> pd.DataFrame:
    """MACs share against time share, as words; a row a series and kind, of series that have a share of time."""
    rows = by_kind(frame)
    if rows.empty or rows["time"].isna().all():
        return pd.DataFrame()
    rows = rows[rows["time"].notna()]
    ratio = (rows["time"] / rows["MACs"]).where(rows["MACs"] > 0)
    return pd.DataFrame(
        {
            "model": rows["series"] + rows["batch"].map(" b{:.0f}".format),
            "kind": rows["kind"],
            "MACs share": ["-" if pd.isna(one) else f"{one:.1%}" for one in rows["MACs"]],
            "time share": [f"{one:.1%}" for one in rows["time"]],
            "time / MACs": [number(one, 3) or "-" for one in ratio],
        }
    )
