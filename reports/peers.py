"""Throughput of the rows of a paper's table as measured here, and as a share of a peer's in the same setting."""

from collections.abc import Sequence

import pandas as pd

from reports.frame import AXES, measured
from reports.roster import Entry

# What two throughputs have in common. Weights and images don't matter to them, arguments tell rows of the table apart.
SAME = [*(axis for axis in AXES if axis not in ("batch", "weights", "images", "arguments")), "environment", "preset"]
_INTERVAL = ["value", "low", "high"]
SHARE = ["share", "share_low", "share_high"]


def of_entry(frame: pd.DataFrame, one: Entry) -> pd.DataFrame:
    """The rows of the frame of an entry's model in mode infer at 224 px, all that the tables speak of; those without
    a classifier, which the paper's numbers are of, after those with theirs."""
    rows = frame[(frame["mode"] == "infer") & (frame["size"] == "224")]
    held = [one.holds(model, words) for model, words in rows[["model", "arguments"]].to_numpy()]
    rows = rows[pd.Series(held, index=rows.index, dtype=bool)]
    return rows.sort_values("arguments", key=lambda words: words.str.contains("num_classes=0"), kind="stable")


def count(frame: pd.DataFrame, one: Entry, metric: str) -> pd.DataFrame:
    """An entry's number of a metric that is the same on all devices, as a row of the frame; none if it has none."""
    return measured(of_entry(frame, one), metric).iloc[-1:]


def speeds(frame: pd.DataFrame, entries: Sequence[Entry]) -> pd.DataFrame:
    """The rows of throughput of entries, one a cell. Column beside the frame's: printed (of the entry)."""
    rows = [measured(of_entry(frame, one), "throughput").assign(printed=one.printed) for one in entries]
    return pd.concat(rows).drop_duplicates(["printed", "batch", *SAME], keep="last")


def beside(rows: pd.DataFrame, peer: str) -> pd.DataFrame:
    """Of `speeds` one row an entry and setting: at the largest batch that was measured of the peer too, in the same
    setting; at the largest of all where there is none.

    Columns beside: share of the peer's throughput, NaN where it has none, and share_low to share_high, the quotients
    of the bounds of both 95 % intervals.
    """
    key = ["batch", *SAME]
    peers = rows.loc[rows["printed"] == peer, [*key, *_INTERVAL]]
    both = rows.merge(peers, on=key, how="left", suffixes=("", "_peer"))
    for share, own, other in zip(SHARE, _INTERVAL, ("value_peer", "high_peer", "low_peer"), strict=True):
        both[share] = both[own] / both[other]
    both = both.assign(paired=both["share"].notna()).sort_values(["paired", "batch"], kind="stable")
    last = both.drop_duplicates(["printed", *SAME], keep="last").set_index(["printed", *SAME])
    found = last.reindex(pd.MultiIndex.from_frame(rows[["printed", *SAME]].drop_duplicates())).reset_index()
    return found.drop(columns=["paired", *(f"{one}_peer" for one in _INTERVAL)])
