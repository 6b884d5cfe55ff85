"""Pareto views: what each model costs and gives in one setting, and which models are dominated there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from reports import arguments
from reports.baselines import untagged
from reports.claims import load, published_top1
from reports.format import scale
from reports.frame import varying
from reports.roster import PRINTED_1, TABLE_1


class Metric(NamedTuple):
    """key: of a metric of the frame, or of what is published. name: as words. more: whether more of it is better."""

    key: str
    name: str
    unit: str
    more: bool = False


METRICS = (
    Metric("throughput", "throughput", "img/s", more=True),
    Metric("latency", "latency", "s"),
    Metric("peak_memory", "peak memory, measured", "B"),
    Metric("peak_live_bytes", "peak memory, predicted", "B"),
    Metric("macs", "MACs of one image", "MAC"),
    Metric("params", "parameters", "1"),
    Metric("top1", "top-1, published", "%", more=True),
    Metric("linear", "linear accuracy, published by EsViT", "%", more=True),
)
BY_KEY: Mapping[str, Metric] = {metric.key: metric for metric in METRICS}
_Row = Mapping[Any, Any]  # of the frame, by column
_PUBLISHED = {"top1", "linear"}
_COUNTS = {"macs", "params"}  # the same in all settings of a size and mode

# Beginnings of registered names; whatever has none of them is OTHER.
_FAMILIES = {
    "sgformer_": "SG-Former",
    "hmhsa_": "hMHSA and cFFN",
    "greenmim_": "GreenMIM",
    "simmim_": "SimMIM",
    "esvit_": "EsViT",
    "beitv2_": "BEiT v2",
}
OTHER = "other models"
FAMILIES = (*_FAMILIES.values(), OTHER)

_MAIN = ("mode", "device", "size", "batch")
SETTING = (*_MAIN, "precision", "compile", "attention", "layout", "environment", "preset")
_COUNTED = ["model", "arguments", "impl", "form", "mode", "size"]  # what a count depends on


def points(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A point each model and variant in each setting of which one of the METRICS was asked; JSON values, SI units.

    frame: tidy, the latest values. A point has model, name (the model with its arguments and form), family, setting
    (the axes that make one, by name), words (the setting as words), metrics (key -> value, low and high; the latter
    are None where there is no interval) and missing (key -> why it has no number). Parameters and MACs are those of
    any setting of the same size and mode.
    """
    frame = frame.fillna({"impl": "", "form": ""})
    apart = [name for name in SETTING if name not in _MAIN and name in varying(frame)]
    counts = {key: _counts(frame, key) for key in _COUNTS}
    published = _published()
    asked = frame[frame["metric"].isin(list(BY_KEY))]
    found = []
    for _, rows in asked.groupby(["model", "arguments", "form", *SETTING], sort=False):
        cell = rows.iloc[-1].to_dict()
        measured_last = rows.sort_values("status", key=lambda status: status == "ok", kind="stable")
        own: dict[str, _Row] = {row["metric"]: row for row in measured_last.to_dict("records")}
        metrics, missing = {}, {}
        for metric in METRICS:
            row: _Row | None = own.get(metric.key)
            if metric.key in _COUNTS:
                row = counts[metric.key].get(tuple(cell[name] for name in _COUNTED), row)
            if metric.key in _PUBLISHED:
                row = _printed(cell, published[metric.key])
            if row is not None and row["status"] == "ok":
                metrics[metric.key] = {name: _plain(row[name]) for name in ("value", "low", "high")}
            else:
                missing[metric.key] = _reason(metric, row)
        found.append(
            {
                "model": cell["model"],
                "name": " ".join(filter(None, (cell["model"], cell["arguments"], cell["form"]))),
                "family": family(cell["model"]),
                "setting": {name: str(cell[name]) for name in SETTING},
                "words": _words(cell, apart),
                "metrics": metrics,
                "missing": missing,
            }
        )
    return found


def chart(frame: pd.DataFrame) -> dict[str, Any]:
    """What the chart of report.html is drawn from: metrics, with the scales in which people read them; families; and
    `points`."""
    return {
        "metrics": [
            {
                "key": one.key,
                "label": label(one),
                "factor": scale(one.key, one.unit).factor,
                "digits": scale(one.key, one.unit).digits,
                "more": one.more,
                "log": one.unit != "%",
            }
            for one in METRICS
        ],
        "families": list(FAMILIES),
        "points": points(frame),
    }


def label(metric: Metric) -> str:
    """`parameters (M)`: the name, and the unit in which it is shown."""
    return f"{metric.name} ({scale(metric.key, metric.unit).unit})"


def dominated(pairs: Sequence[tuple[float, float]], x_more: bool, y_more: bool) -> list[bool]:
    """Of each pair (x, y), whether another is at least as good in both and better in one.

    x_more, y_more: whether more is better. Of equal pairs none dominates the other.
    """
    costs = [(-x if x_more else x, -y if y_more else y) for x, y in pairs]
    return [any(a <= x and b <= y and (a, b) != (x, y) for a, b in costs) for x, y in costs]


def family(model: str) -> str:
    """The name of the paper's family that a registered model is of."""
    return next((title for prefix, title in _FAMILIES.items() if model.startswith(prefix)), OTHER)


def _counts(frame: pd.DataFrame, metric: str) -> dict[tuple[str, ...], _Row]:
    """The rows of a count that hold a number, by what it depends on."""
    rows = frame[(frame["metric"] == metric) & (frame["status"] == "ok")]
    return {tuple(row[name] for name in _COUNTED): row for row in rows.to_dict("records")}


def _published() -> dict[str, Callable[[str, str], float | None]]:
    """Key -> function from a model and its arguments to the number that is published of them, or None."""
    top1 = published_top1().set_index("name")["top1"].to_dict()
    claims = load()
    claims = claims[(claims["source"] == TABLE_1) & (claims["metric"] == "linear")]
    printed = claims.set_index("model")["value"].astype(float).to_dict()
    own = [one for one in PRINTED_1 if one.printed.startswith("EsViT")]
    linear = {(one.model, *sorted(one.arguments.items())): printed[one.printed] for one in own}
    return {
        "top1": lambda model, words: None if words else top1.get(model),
        "linear": lambda model, words: linear.get((model, *sorted(arguments.read(words).items()))),
    }


def _printed(cell: _Row, published: Callable[[str, str], float | None]) -> dict[str, Any] | None:
    """What is published of a cell's model, as a row of the frame; of classification at 224 px alone."""
    if (cell["mode"], cell["size"]) != ("infer", "224"):
        return None
    value = published(untagged(cell["model"]), arguments.without(cell["arguments"], "impl"))  # any impl gives the same
    return None if value is None else {"value": value, "low": None, "high": None, "status": "ok"}


def _words(cell: _Row, apart: Sequence[str]) -> str:
    """`infer on cpu, 224 px, batch 1`, and what else tells settings `apart`."""
    words = [f"{cell['mode']} on {cell['device']}", f"{cell['size']} px", f"batch {cell['batch']}"]
    return ", ".join([*words, *(f"{name} {cell[name]}" for name in apart)])


def _plain(value: float | None) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _reason(metric: Metric, row: _Row | None) -> str:
    if metric.key in _PUBLISHED:
        return "not in the claims"
    return "not asked for" if row is None else f"{row['status']}: {row['note']}"
