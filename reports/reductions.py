"""What a model costs against the base that its paper changed: the change of each number in percent, cell by cell."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.spec import Spec
from reports.baselines import BASES, untagged
from reports.claims import published_reductions
from reports.format import change, name
from reports.frame import AXES, CELL, IDENTITY, varying

COUNTS = ("params", "macs", "macs_fvcore", "activations", "peak_live_bytes")  # the same each time
METRICS = (*COUNTS, "peak_memory", "latency", "throughput")
_SAME = [axis for axis in AXES if axis not in ("weights", "images", "arguments")]
_NUMBERS = ["value", "low", "high"]
CHANGE = ["change_percent", "low_percent", "high_percent"]

Row = dict[Any, Any]  # of the tidy frame: column -> value


def changes(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `METRICS` whose base has the number too, in a cell with the same axes, environment and preset.

    Columns beside the frame's: against (the base, with its arguments if it has any); base_value, base_low, base_high;
    change_percent, and low_percent to high_percent where both numbers have an interval: from the quotients of their
    bounds, so that it covers the true change whenever both intervals cover what they are of.
    """
    rows = [{**own, **_against(own, base)} for own, base in _pairs(frame) if base is not None]
    found = pd.DataFrame(rows, columns=[*frame.columns, "against", *(f"base_{one}" for one in _NUMBERS), *CHANGE])
    return found.astype(dict.fromkeys([*(f"base_{one}" for one in _NUMBERS), *CHANGE], float))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """`changes` as words: a row a cell, a column a metric, `-` where not both have the number."""
    metrics = [metric for metric in METRICS if metric in set(rows["metric"])]
    keys = varying(rows)
    if rows["form"].any() and "form" not in keys:
        keys.append("form")  # said even where it is the same: the base has none
    words = []
    for _, own in rows.fillna({"impl": ""}).groupby([*CELL, "against"], sort=False):
        numbers: Row = {row["metric"]: row for row in own.to_dict("records")}
        row: Row = {key: own[key].iloc[0] for key in ("model", "against", *keys)}
        words.append(row | {name(metric): _word(metric, numbers.get(metric)) for metric in metrics})
    return pd.DataFrame(words)


def exact(rows: pd.DataFrame) -> pd.DataFrame:
    """`changes` as numbers, not rounded; a row a metric of a cell."""
    return rows[[*IDENTITY, *_NUMBERS, "against", *(f"base_{one}" for one in _NUMBERS), *CHANGE]]


def unpaired(frame: pd.DataFrame) -> dict[str, list[str]]:
    """What to measure for the cells without a single counterpart: model -> words of a command line, as in
    `pvt_v2_b1 mode=train batch=1,8 size=224`."""
    compared: set[tuple[str, ...]] = set()
    cells: dict[tuple[str, ...], Row] = {}
    for own, base in _pairs(frame):
        cell = tuple(own[key] for key in CELL)
        cells.setdefault(cell, own)
        if base is not None:
            compared.add(cell)
    found: dict[str, dict[str, dict[int, None]]] = {}
    for cell, own in cells.items():
        if cell not in compared:
            found.setdefault(own["model"], {}).setdefault(_words(own), {})[own["batch"]] = None
    return {
        model: [words.format(batch=",".join(map(str, batches))) for words, batches in wanted.items()]
        for model, wanted in found.items()
    }


def published(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """What papers print of the models of `frame`, beside our `changes` at 224 px, as words; a row a number."""
    claims = published_reductions()
    claims = claims[claims["name"].isin(frame["model"].map(untagged))]
    alike = rows[(rows["size"] == "224") & (rows["mode"] == "infer") & (rows["form"] != "training")]
    alike = alike[alike["arguments"] == ""]
    ours = {
        (untagged(row["model"]), row["metric"]): _word(row["metric"], row)
        for row in alike.to_dict("records")
        if row["metric"] in COUNTS
    }
    return pd.DataFrame(
        [
            {
                "model": one["name"],
                "of": name(one["metric"]),
                "published": change(one["change_percent"], decimals=1),
                "measured": ours.get((one["name"], one["metric"]), "-"),
                "source": f"{one['source']} of arXiv:{one['paper']}",
                "read in": one["provenance"],
                "confidence": one["confidence"],
                "id": one["id"],
            }
            for one in claims.to_dict("records")
        ]
    )


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[Row, Row | None]]:
    """Each measured number of a model that has a base, with the base's; None where that was not measured alike.

    Of several cells of a base that with most of the model's own arguments is taken, and none with others.
    """
    rows = frame[frame["metric"].isin(METRICS) & (frame["status"] == "ok")].to_dict("records")
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(_key(row, untagged(row["model"])), []).append(row)
    for row in rows:
        base = BASES.get(untagged(row["model"]))
        if base is None:
            continue
        arguments = set(row["arguments"].split())
        found = [one for one in alike.get(_key(row, base.model), ()) if set(one["arguments"].split()) <= arguments]
        yield (
            row,
            max(found, key=lambda one: (len(one["arguments"].split()), one["form"] == row["form"]), default=None),
        )


def _key(row: Row, model: str) -> tuple[Any, ...]:
    return (
        model,
        row["metric"],
        row["environment"],
        row["preset"],
        _kind(row["weights"]),
        *(row[axis] for axis in _SAME),
    )


def _kind(weights: str) -> str:
    return weights if weights in ("random", "pretrained") else "FILE"


def _against(own: Row, base: Row) -> Row:
    return {
        "against": f"{base['model']} {base['arguments']}".strip(),
        **{f"base_{one}": base[one] for one in _NUMBERS},
        "change_percent": _percent(own["value"], base["value"]),
        "low_percent": _percent(own["low"], base["high"]),
        "high_percent": _percent(own["high"], base["low"]),
    }


def _percent(one: float, base: float) -> float:
    """From `base` to `one`; NaN where either is missing (NaN), or the base is nothing that could change by a share."""
    return 100 * (one / base - 1) if base > 0 else float("nan")


def _word(metric: str, row: Row | None) -> str:
    return "-" if row is None else change(*(row[one] for one in CHANGE), decimals=2 if metric in COUNTS else 1) or "-"


def _words(row: Row) -> str:
    """The base's cell for a row, as words of a command line, the batch left open."""
    base = BASES[untagged(row["model"])].model
    default = Spec(base)
    values = {**{axis: row[axis] for axis in _SAME}, "weights": _kind(row["weights"]), "batch": "{batch}"}
    plain = {axis: getattr(default, axis) for axis in values if axis not in ("batch", "size")}
    return " ".join([base, *(f"{axis}={value}" for axis, value in values.items() if value != plain.get(axis))])
