"""Pre-training as a table: what a step takes, and how long an epoch of ImageNet-1K would at that throughput."""

from typing import Any

import pandas as pd

from reports.format import cell, scale
from reports.frame import CELL, varying
from reports.tables import MEMORY

IMAGES = 1_281_167  # of ImageNet-1K's training set

Row = dict[Any, Any]  # of the tidy frame: column -> value


def hours(throughput: float) -> float:
    """What an epoch takes at so many images a second."""
    return IMAGES / throughput / 3600


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a cell of mode pretrain whose throughput was measured, as words; empty where none was.

    Without the columns of which no cell has a number.
    """
    rows = frame[(frame["mode"] == "pretrain") & (frame["status"] == "ok")].fillna({"impl": ""})
    cells = [own for _, own in rows.groupby(CELL, sort=False) if "throughput" in set(own["metric"])]
    if not cells:
        return pd.DataFrame()
    rows = pd.concat(cells)
    arguments = ["arguments"] if rows["arguments"].any() else []
    keys = list(dict.fromkeys(("model", "batch", "size", *arguments, *varying(rows))))
    table = pd.DataFrame([_row(own, keys) for own in cells])
    return table.drop(columns=[name for name in table if name not in keys and table[name].eq("-").all()])


def _row(own: pd.DataFrame, keys: list[str]) -> Row:
    numbers: dict[str, Row] = {row["metric"]: row for row in own.to_dict("records")}
    speed = numbers["throughput"]
    bounds = {"value": hours(speed["value"]), "low": hours(speed["high"]), "high": hours(speed["low"])}
    memory = next((metric for metric in MEMORY if metric in numbers), MEMORY[0])
    columns = {
        "time a step": ("s", numbers.get("latency")),
        "throughput": ("img/s", speed),
        "epoch": ("h", {**speed, **bounds, "metric": "epoch", "unit": "h"}),
        "memory": ("B", numbers.get(memory)),
        "MACs": ("MAC", numbers.get("macs")),
    }
    words = {f"{column} ({scale('', unit).unit})": _word(row) for column, (unit, row) in columns.items()}
    if memory == "peak_live_bytes":
        words[f"memory ({scale('', 'B').unit})"] += " predicted"
    return {key: own[key].iloc[0] for key in keys} | words


def _word(row: Row | None) -> str:
    return "-" if row is None else cell(*(row[one] for one in ("metric", "unit", "value", "low", "high")))
