"""How windows of visible tokens are packed into groups: what the metric `padding` found over random masks."""

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from reports.format import change, number, scale
from reports.frame import AXES, measured, series

METRIC = "padding"
RULES = ("official", "search", "packed")
_ALIKE = [*(axis for axis in AXES if axis not in ("size", "arguments")), "form", "environment", "preset"]


def studies(frame: pd.DataFrame, part: str, metric: str = METRIC) -> pd.DataFrame:
    """The rows of a metric of masks whose details hold `part`, one for each that differs: most axes don't matter to it.

    Columns beside the frame's: series, the names of the models with that part, each with the fewest arguments.
    """
    rows = measured(frame, metric)
    rows = rows[rows["details"].map(lambda details: bool(details.get(part))).astype(bool)]
    rows = rows.assign(series=series(rows, *_ALIKE), part=[json.dumps(details[part]) for details in rows["details"]])
    plain = rows.sort_values("arguments", key=lambda words: words.str.len(), kind="stable")
    plain = plain.drop_duplicates(["part", "model"]).sort_index()
    shared = plain.groupby("part")["series"].agg(", ".join)
    return plain.drop_duplicates("part").assign(series=lambda own: own["part"].map(shared))


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a study, stage and shift, as words; empty if nothing was packed."""
    rows = studies(frame, "curves")
    curves = [
        (name, curve)
        for name, details in zip(rows["series"], rows["details"], strict=True)
        for curve in details["curves"]
    ]
    rules = [rule for rule in RULES if any(rule in curve for _, curve in curves)]
    return pd.DataFrame([{"model": name, **dict(_words(curve, rules))} for name, curve in curves])


def choices(curve: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The mean size of groups, cost and share of padding of each rule, in a stage and shift.

    Of few tokens (mode "masking") the released code makes one group, whatever size its rule would give.
    """
    found = {rule: curve[rule] for rule in RULES if rule in curve}
    if curve["mode"] == "masking" and "official" in found:
        found["official"] = {"size": curve["tokens"], "cost": curve["mean"][-1], "padding": 0.0}
    return found


def shifted(shift: int) -> str:
    """A shift as words."""
    return f"shift {shift}" if shift else "no shift"


def _words(curve: dict[str, Any], rules: list[str]) -> Iterator[tuple[str, str]]:
    for name in ("stage", "shift", "tokens"):
        yield name, str(curve[name])
    chosen = choices(curve)
    found = {rule: chosen.get(rule) for rule in rules}
    share = scale(METRIC, "1")
    for rule, one in found.items():
        yield f"g, {rule}", number(one["size"], 3) if one else "-"
    for rule, one in found.items():
        yield f"padding, {rule} ({share.unit})", number(one["padding"] * share.factor, share.digits) if one else "-"
    for rule, one in found.items():
        yield f"above the floor, {rule}", change(100 * (one["cost"] / curve["floor"] - 1), decimals=1) if one else "-"
