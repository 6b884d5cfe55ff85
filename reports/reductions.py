"""What a model costs against the bases of its paper: the change of each number in percent, cell by cell."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.spec import Spec
from reports import arguments
from reports.baselines import BASES, Base, untagged
from reports.format import change, factor, name
from reports.frame import AXES, CELL, IDENTITY, varying

COUNTS = ("params", "macs", "macs_fvcore", "step_macs", "activations", "peak_live_bytes")  # the same each time
METRICS = (*COUNTS, "peak_memory", "latency", "step_time", "throughput")
_SAME = [axis for axis in AXES if axis not in ("weights", "images", "arguments")]
_NUMBERS = ["value", "low", "high"]
CHANGE = ["change_percent", "low_percent", "high_percent"]

Row = dict[Any, Any]  # of the tidy frame: column -> value


def changes(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `METRICS` whose base has the number too, in a cell with the same axes, environment and preset; one
    for each of the model's bases.

    Columns beside the frame's: base (which of the model's, 0 the first), against (its cell: the model, with its size
    where that is another, and its arguments if it has any); base_value, base_low, base_high; change_percent, and
    low_percent to high_percent where both numbers have an interval: from the quotients of their bounds, so that it
    covers the true change whenever both intervals cover what they are of.
    """
    rows = [{**own, "base": base, **_against(own, found)} for own, base, found in _pairs(frame) if found is not None]
    numbers = [*(f"base_{one}" for one in _NUMBERS), *CHANGE]
    return pd.DataFrame(rows, columns=[*frame.columns, "base", "against", *numbers]).astype(
        dict.fromkeys(numbers, float)
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """`changes` as words: a row a cell and base, a column a metric, `-` where not both have the number.

    Pre-training has its throughput as a factor too, the speed-up that papers print.
    """
    metrics = [metric for metric in METRICS if metric in set(rows["metric"])]
    factors = (rows["mode"].eq("pretrain") & rows["metric"].eq("throughput")).any()
    keys = varying(rows)
    if rows["form"].any() and "form" not in keys:
        keys.append("form")  # said even where it is the same: the base has none
    words = []
    for _, own in rows.fillna({"impl": ""}).groupby([*CELL, "against"], sort=False):
        numbers: Row = {row["metric"]: row for row in own.to_dict("records")}
        row: Row = {key: own[key].iloc[0] for key in ("model", "against", *keys)}
        row |= {name(metric): _word(metric, numbers.get(metric)) for metric in metrics}
        if factors:
            row["speed-up"] = "-" if "throughput" not in numbers else factor(*quotient(numbers["throughput"])) or "-"
        words.append(row)
    return pd.DataFrame(words)


def quotient(row: Row) -> tuple[float, float, float]:
    """The number of a row of `changes` as a share of its base's, and the bounds of its interval."""
    share, low, high = (1 + row[one] / 100 for one in CHANGE)
    return share, low, high


def exact(rows: pd.DataFrame) -> pd.DataFrame:
    """`changes` as numbers, not rounded; a row a metric of a cell."""
    return rows[[*IDENTITY, *_NUMBERS, "against", *(f"base_{one}" for one in _NUMBERS), *CHANGE]]


def unpaired(frame: pd.DataFrame) -> dict[str, list[str]]:
    """What to measure for the cells without a single number of a base: model -> words of a command line, as in
    `pvt_v2_b1 mode=train batch=1,8 size=224`."""
    compared: set[tuple[object, ...]] = set()
    cells: dict[tuple[object, ...], tuple[Row, Base]] = {}
    for own, place, found in _pairs(frame):
        cell = (*(own[key] for key in CELL), place)
        cells.setdefault(cell, (own, BASES[untagged(own["model"])][place]))
        if found is not None:
            compared.add(cell)
    wanted: dict[str, dict[str, dict[int, None]]] = {}
    for cell, (own, base) in cells.items():
        if cell not in compared:
            wanted.setdefault(own["model"], {}).setdefault(_words(own, base), {})[own["batch"]] = None
    return {
        model: [words.replace("{batch}", ",".join(map(str, batches))) for words, batches in every.items()]
        for model, every in wanted.items()
    }


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[Row, int, Row | None]]:
    """Each measured number of a model with each of its bases (0 the first), and the base's number; None where that was
    not measured alike.

    Of several cells of a base, all with the arguments that it must have, that with most of the model's own others is
    taken, and none with others. A model that is its own base is compared where all other arguments are the same, and
    the `impl` in force, whether an argument says it or not, unless it is what the base has otherwise.
    """
    rows = frame[frame["metric"].isin(METRICS) & (frame["status"] == "ok")].to_dict("records")
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(_key(row, untagged(row["model"]), row["size"]), []).append(row)
    for row in rows:
        own = arguments.read(row["arguments"])
        bases = BASES.get(untagged(row["model"]), ())
        if any(base.model == untagged(row["model"]) and base.arguments.items() <= own.items() for base in bases):
            continue  # a base itself
        for place, base in enumerate(bases):
            if base.mode not in ("", row["mode"]) or (base.size is not None and base.size[0] != row["size"]):
                continue
            found = [one for one in alike.get(_key(row, base.model, _size(row, base)), ()) if _stands(one, row, base)]
            yield (
                row,
                place,
                max(found, key=lambda one: (len(one["arguments"].split()), one["form"] == row["form"]), default=None),
            )


def _stands(one: Row, row: Row, base: Base) -> bool:
    """Whether `one`, a cell of the model of a `base`, has the arguments to be compared with `row`."""
    allowed = {**arguments.read(row["arguments"]), **base.arguments}
    given = arguments.read(one["arguments"])
    if base.model == untagged(row["model"]):
        return _impl(one) == base.arguments.get("impl", _impl(row)) and {**given, "impl": ""} == {**allowed, "impl": ""}
    return base.arguments.items() <= given.items() <= allowed.items()


def _impl(row: Row) -> object:
    """The `impl` in force; where the record doesn't say, its argument."""
    return arguments.read(row["arguments"]).get("impl", "") if pd.isna(row["impl"]) else row["impl"]


def _size(row: Row, base: Base) -> str:
    return base.size[1] if base.size else row["size"]


def _key(row: Row, model: str, size: str) -> tuple[Any, ...]:
    same = {axis: row[axis] for axis in _SAME} | {"size": size}
    return (model, row["metric"], row["environment"], row["preset"], _kind(row["weights"]), *same.values())


def _kind(weights: str) -> str:
    return weights if weights in ("random", "pretrained") else "FILE"


def _against(own: Row, base: Row) -> Row:
    size = "" if base["size"] == own["size"] else f"{base['size']} px"
    return {
        "against": " ".join(filter(None, (base["model"], size, base["arguments"]))),
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


def _words(row: Row, base: Base) -> str:
    """The cell of a row's base, as words of a command line, the batch left open."""
    default = Spec(base.model)
    same = {axis: row[axis] for axis in _SAME}
    values = same | {"size": _size(row, base), "weights": _kind(row["weights"]), "batch": "{batch}"}
    plain = {axis: getattr(default, axis) for axis in values if axis not in ("batch", "size")}
    words = [base.model, *(f"{axis}={value}" for axis, value in values.items() if value != plain.get(axis))]
    own = row["arguments"] if untagged(row["model"]) == base.model else ""  # another model may not take them
    given = [
        *arguments.without(own, *base.arguments).split(),
        *(f"{name}={one}" for name, one in base.arguments.items()),
    ]
    return " ".join([*words, *(f"--model-arg {word}" for word in given)])
