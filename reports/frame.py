"""The tidy frame: one row a value, every column a plain number or word. All tables and pictures start from it."""

from collections.abc import Sequence

import pandas as pd

from bench.record import Record
from bench.spec import Spec, format_size

AXES = ("mode", "batch", "size", "precision", "device", "compile", "attention", "layout", "arguments")
CELL = ["environment", "preset", "id"]  # what is measured, where, and how carefully


def to_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row a value of every record, in their order; SI units, nothing rounded, raw samples left out.

    Columns: id, model, the AXES, impl, environment (fingerprint), preset, time; metric, unit, value, low, high (95 %
    interval), samples (their number), processes, status, note.
    """
    rows = [
        {
            "id": record.spec.id,
            "model": record.spec.model,
            **_axes(record.spec),
            "impl": record.impl,
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
        }
        for record in records
        for value in record.values
    ]
    return pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})


def latest(frame: pd.DataFrame) -> pd.DataFrame:
    """The latest value of each metric of each CELL, by the time of its record; earlier ones are dropped."""
    times = pd.to_datetime(frame["time"], utc=True)
    newest = frame.assign(when=times).sort_values("when", kind="stable").drop_duplicates([*CELL, "metric"], keep="last")
    return frame.loc[frame.index.isin(newest.index)].reset_index(drop=True)


def measured(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of `metric` that hold a number."""
    return frame[(frame["metric"] == metric) & (frame["status"] == "ok")]


def varying(frame: pd.DataFrame) -> list[str]:
    """Those of impl, environment, preset and the AXES that differ between rows: a table needs them as columns."""
    return [name for name in (*AXES, "impl", "environment", "preset") if frame[name].nunique(dropna=False) > 1]


def _axes(spec: Spec) -> dict[str, object]:
    plain = {name: getattr(spec, name) for name in AXES if name not in ("size", "arguments")}
    arguments = " ".join(f"{key}={value}" for key, value in spec.model_args)
    return {**plain, "size": format_size(spec.size), "arguments": arguments}
