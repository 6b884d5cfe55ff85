"""Tables: tidy frame in, a frame of words (to print) or of exact numbers (for CSV) out."""

import re

import pandas as pd

from reports.format import cell, heading, number, scale
from reports.frame import AXES, CELL, measured, varying

MEMORY = ("peak_memory", "peak_live_bytes")


def main_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the cells of which only memory was asked: those are one table of their own, `memory`."""
    only_memory = frame.groupby(CELL)["metric"].transform(lambda names: set(names) <= set(MEMORY))
    return frame if only_memory.all() else frame[~only_memory]


def results(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a cell, a column a metric, as words: number with half its interval, or `skipped`, `failed`, `-`."""
    columns = ["metric", "unit", "value", "low", "high", "status"]
    words = frame.assign(
        word=[cell(*row) if status == "ok" else status for *row, status in frame[columns].to_numpy().tolist()],
        column=[heading(*row) for row in frame[["metric", "unit"]].to_numpy().tolist()],
    )
    return _wide(words, "column", "word").fillna("-")


def exact(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a cell, a column a metric with its SI unit; empty where nothing was measured."""
    return _wide(frame.assign(column=frame["metric"] + " [" + frame["unit"] + "]"), "column", "value")


def memory(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each memory metric with numbers at more than one batch: a row a model, a column a batch, as words."""
    tables = {}
    for metric in MEMORY:
        rows = measured(frame, metric)
        keys = ["model", *(name for name in varying(rows) if name != "batch")]
        wide = rows.fillna({"impl": ""}).pivot_table(index=keys, columns="batch", values="value", sort=False)
        wide = wide[wide.count(axis="columns") > 1].sort_index(axis="columns")
        if wide.empty:
            continue
        shown = scale(metric, "B")
        words = wide.map(lambda value, shown=shown: number(value * shown.factor, shown.digits) or "-")
        words.columns = [f"batch {batch}" for batch in wide.columns]
        tables[heading(metric, "B")] = words.reset_index()
    return tables


def problems(frame: pd.DataFrame) -> pd.DataFrame:
    """What was skipped or failed, and why; a row a metric and reason, with the cells it befell."""
    return _grouped(frame[frame["status"] != "ok"], ["status", "metric", "note"]).rename(columns={"note": "reason"})


def remarks(frame: pd.DataFrame) -> pd.DataFrame:
    """Notes on what was measured; a row a metric and note."""
    return _grouped(frame[(frame["status"] == "ok") & (frame["note"] != "")], ["metric", "note"])


def constant(frame: pd.DataFrame) -> dict[str, str]:
    """The axes that are the same in every row, and so not a column."""
    return {name: str(frame[name].iloc[0]) for name in AXES if frame[name].nunique() == 1 and frame[name].iloc[0] != ""}


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table, its words escaped."""
    clean = table.rename(columns=escape).map(escape)
    return clean.to_markdown(index=False, disable_numparse=True, colalign=["left"] * len(table.columns))


def escape(text: object) -> str:
    """`text` as one line in which Markdown and HTML find nothing to act on."""
    words = " ".join(str(text).split())
    words = re.sub(r"([\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", words)  # `_` inside a word does nothing
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _wide(frame: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    keys = ["model", *varying(frame)]
    indexed = frame.assign(**{name: frame[name].fillna("") for name in keys}).set_index([*keys, "id", column])
    wide = indexed[value].unstack(column, sort=False)
    return wide.droplevel("id").reset_index().rename_axis(columns=None)


def _grouped(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Rows with equal `keys` as one, with the models and batches that they speak of."""
    return pd.DataFrame(
        [
            {**dict(zip(keys, names, strict=True)), "cells": "; ".join(_batches(rows))}
            for names, rows in frame.groupby(keys, sort=False)
        ]
    )


def _batches(frame: pd.DataFrame) -> list[str]:
    """`sgformer_s at batch 1, 8` for each model."""
    return [
        f"{model} at batch {', '.join(map(str, rows['batch'].unique()))}"
        for model, rows in frame.groupby("model", sort=False)
    ]
