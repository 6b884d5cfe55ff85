"""Where a step of training goes: multiply-accumulates, time and memory by section, and by what is done there."""

import pandas as pd

from reports.format import percent, quantity
from reports.frame import CELL, series
from reports.shares import split

COSTS = {"step_macs": "MACs", "step_time": "time", "peak_live_bytes": "memory"}  # metric -> as a reader calls it
FORWARD, BACKWARD, ACTIVATIONS = "forward", "backward", "activations"
_WHOLE = "whole step"
_ALL = "all"  # the section of what is done to all of them at once: its phase says what


def parts(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a part of each cost of a step: what identifies the value, then section, phase (of memory: the kind of
    tensor), value and share (of the sum of the parts)."""
    return split(frame[frame["mode"] != "infer"], COSTS, "section", "phase")


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """`parts` of one cell a series: at the batch at which most costs were told apart, the largest of these; none of
    series whose steps have neither MACs nor time told apart.

    Columns beside: cost (of `COSTS`), series (which names the batch) and costs (how many the cell has). What is of no
    section has its phase for one: "optimizer", "after step".
    """
    rows = parts(frame)
    rows = rows.assign(series=series(rows, "batch"), cost=rows["metric"].map(COSTS))
    rows = rows.assign(costs=rows.groupby(CELL)["cost"].transform("nunique"))
    told = (rows["cost"] != COSTS["peak_live_bytes"]).groupby([rows[key] for key in CELL]).transform("any")
    best = rows[told].sort_values(["costs", "batch"]).drop_duplicates("series", keep="last")
    rows = rows.merge(best[[*CELL, "series"]], on=[*CELL, "series"])
    return rows.assign(
        section=rows["section"].where(rows["section"] != _ALL, rows["phase"]),
        series=[f"{name} b{batch}" for name, batch in rows[["series", "batch"]].to_numpy()],
    )


def sections(rows: pd.DataFrame) -> list[str]:
    """The sections of `cells`, in order; what is of none last."""
    own = rows["phase"].isin([FORWARD, BACKWARD]) | (rows["cost"] != COSTS["step_time"])
    last = ["other", *dict.fromkeys(rows.loc[~own, "section"])]
    return sorted(dict.fromkeys(rows["section"]), key=lambda section: section in last and 1 + last.index(section))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """`cells` as words: of each the whole, with its unit, and then the share of each section; `-` where it has none."""
    return pd.DataFrame(
        [
            {"model": name, "section": section, **_words(own, section)}
            for name, own in rows.groupby("series", sort=False)
            for section in (_WHOLE, *sections(own))
        ]
    )


def whole(own: pd.DataFrame) -> str:
    """The sum of the parts of one cost, with its unit."""
    if own.empty:
        return "-"
    metric, unit = own[["metric", "unit"]].iloc[0]
    return quantity(metric, unit, own["value"].sum())


def _words(own: pd.DataFrame, section: str) -> dict[str, str]:
    columns = {
        **{f"{cost} {phase}": (cost, phase) for cost in ("MACs", "time") for phase in (FORWARD, BACKWARD, "")},
        f"memory {ACTIVATIONS}": ("memory", ACTIVATIONS),
        "memory": ("memory", ""),
    }
    return {
        column.strip(): whole(own[(own["cost"] == cost) & own["phase"].isin([phase] if phase else own["phase"])])
        if section == _WHOLE
        else _share(own, section, cost, phase)
        for column, (cost, phase) in columns.items()
    }


def _share(own: pd.DataFrame, section: str, cost: str, phase: str = "") -> str:
    rows = own[(own["section"] == section) & (own["cost"] == cost)]
    rows = rows[rows["phase"] == phase] if phase else rows
    return percent(rows["share"].sum()) if len(rows) else "-"
