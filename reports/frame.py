"""The tidy frame: one row a value, every column a plain number or word. All tables and pictures start from it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.record import Record
from bench.spec import Spec, format_size
from reports.percentiles import PERCENTS, percentiles

AXES = (
    *("mode", "batch", "size", "precision", "device", "compile", "attention", "layout"),
    *("weights", "images", "arguments"),
)
_WORDS = {"batch": "b{}", "size": "{} px", "compile": "compile {}", "weights": "{} weights", "images": "on {}"}
IDENTITY = ["id", "model", *AXES, "impl", "form", "environment", "preset", "time", "metric", "unit"]  # of a value
CELL = ["environment", "preset", "id"]  # what is measured, where, and how carefully
_COLUMNS = [
    *IDENTITY,
    *("value", "low", "high", "samples", "processes", "status", "note"),
    *(f"p{percent}" for percent in PERCENTS),
    "details",
]


def to_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row a value of every record, in their order; SI units, nothing rounded, raw samples left out.

    Columns: id, model, the AXES, impl, form, environment (fingerprint), preset, time; metric, unit, value, low, high
    (95 % interval), samples (their number), processes, status, note; of latencies p50 to p99 (`reports.percentiles`);
    details, JSON values that `to_csv` leaves out.
    """
    rows = [
        {
            "id": record.spec.id,
            "model": record.spec.model,
            **_axes(record.spec),
            "impl": record.impl,
            "form": record.form or "",
            "environment": record.environment.fingerprint,
            "preset": record.protocol.preset,
            "time": record.time,
            "metric": value.metric,
            "unit": value.unit,
            "value": value.value,
            "low": value.interval[0] if value.interval else None,
            "high": value.interval[1] if value.interval else None,
            "samples": sum(map(len, value.samples)),
            "processes": len(value.samples),
            "status": value.status,
            "note": value.note,
            **percentiles(value.samples if value.metric == "latency" else ()),
            "details": value.details,
        }
        for record in records
        for value in record.values
    ]
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"value": float, "low": float, "high": float})


def to_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write the frame's numbers and words."""
    frame.drop(columns="details", errors="ignore").to_csv(path, index=False)


def latest(frame: pd.DataFrame, of: Sequence[str] = CELL) -> pd.DataFrame:
    """The latest value of each metric of each cell, by the time of its record; earlier ones are dropped.

    of: the columns that make a cell.
    """
    times = pd.to_datetime(frame["time"], utc=True)
    newest = frame.assign(when=times).sort_values("when", kind="stable").drop_duplicates([*of, "metric"], keep="last")
    return frame.loc[frame.index.isin(newest.index)].reset_index(drop=True)


def measured(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of `metric` that hold a number."""
    return frame[(frame["metric"] == metric) & (frame["status"] == "ok")]


def varying(frame: pd.DataFrame) -> list[str]:
    """Those of impl, form, environment, preset and the AXES that differ between rows: a table needs them as columns."""
    return [name for name in (*AXES, "impl", "form", "environment", "preset") if frame[name].nunique(dropna=False) > 1]


def series(frame: pd.DataFrame, *without: str) -> pd.Series:
    """Each row's model and what else tells rows apart, `without` some axes: a line of a picture, a row of a table."""
    apart = [name for name in varying(frame) if name not in (*without, "impl")]
    words = [
        " ".join([model, *(_word(*each) for each in zip(apart, values, strict=True) if each[1] != "")])
        for model, *values in frame[["model", *apart]].to_numpy().tolist()
    ]
    return pd.Series(words, index=frame.index, dtype=str)


def pixels(size: str) -> int:
    """How many a size of the column `size` has: `224` is square, `224x288` height x width."""
    height, _, width = size.partition("x")
    return int(height) * int(width or height)


def _axes(spec: Spec) -> dict[str, object]:
    plain = {name: getattr(spec, name) for name in AXES if name not in ("size", "arguments")}
    arguments = " ".join(f"{key}={value}" for key, value in spec.model_args)
    return {**plain, "size": format_size(spec.size), "arguments": arguments}


def _word(axis: str, value: object) -> str:
    """An axis's value as it can stand alone in a legend; of a path, the file's name."""
    return _WORDS.get(axis, "{}").format(Path(str(value)).name if axis in ("weights", "images") else value)
