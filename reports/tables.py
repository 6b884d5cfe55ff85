"""Tables: tidy frame in, a frame of words (to print) or of exact numbers (for CSV) out."""

import re
from collections.abc import Iterator

import pandas as pd

from reports.format import cell, heading, number, scale
from reports.frame import AXES, CELL, measured, pixels, series, varying
from reports.percentiles import PERCENTS

MEMORY = ("peak_memory", "peak_live_bytes")
CORRESPONDENCE = ("correspondence_accuracy", "correspondence_distance")
ATTENTION = {"ccs", "entropy", "hallucination", "significance", "codebook_usage", *CORRESPONDENCE}  # of images
_APART = (set(MEMORY), ATTENTION, {"padding"}, {"mask_occupancy"})  # each has tables of its own


def main_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the cells of which only memory, what is seen in images or how windows are grouped was asked."""
    asked = frame.groupby(CELL)["metric"].transform(lambda names: any(set(names) <= one for one in _APART))
    return frame if asked.all() else frame[~asked]


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
    """For each memory metric with numbers at more than one batch, or size: a row a model, a column each, as words."""
    tables = {}
    for metric in MEMORY:
        rows = measured(frame, metric).fillna({"impl": ""})
        shown = scale(metric, "B")
        for axis, title in (("batch", "batch sizes"), ("size", "image sizes")):
            keys = ["model", *(name for name in varying(rows) if name != axis)]
            wide = rows.pivot_table(index=keys, columns=axis, values="value", sort=False)
            wide = wide[wide.count(axis="columns") > 1].dropna(axis="columns", how="all")
            if wide.empty:
                continue
            wide = wide[sorted(wide.columns, key=lambda value: pixels(str(value)))]  # which keeps batches in order too
            words = wide.map(lambda value, shown=shown: number(value * shown.factor, shown.digits) or "-")
            words.columns = [f"{axis} {value}" for value in wide.columns]
            tables[f"{heading(metric, 'B')} over {title}"] = words.reset_index()
    return tables


def latencies(frame: pd.DataFrame) -> pd.DataFrame:
    """Percentiles of the latencies of cells that have enough samples for p90 or more, as words; a row a cell."""
    rows = measured(frame, "latency")
    rows = rows[rows["p90"].notna()]
    shown = scale("latency", "s")
    words = rows[["model", *varying(frame)]].fillna("").assign(samples=rows["samples"])
    for percent in PERCENTS:
        words[f"p{percent} ({shown.unit})"] = [
            number(value * shown.factor, shown.digits) or "-" for value in rows[f"p{percent}"]
        ]
    return words


def problems(frame: pd.DataFrame) -> pd.DataFrame:
    """What was skipped or failed, and why; a row a metric and reason, with the cells it befell."""
    return _grouped(frame, frame["status"] != "ok", ["status", "metric", "note"]).rename(columns={"note": "reason"})


def remarks(frame: pd.DataFrame) -> pd.DataFrame:
    """Notes on what was measured; a row a metric and note."""
    return _grouped(frame, (frame["status"] == "ok") & (frame["note"] != ""), ["metric", "note"])


def constant(frame: pd.DataFrame) -> dict[str, str]:
    """The axes that are the same in every row, and so not a column; images only where something depends on them."""
    axes = AXES if ATTENTION & set(frame["metric"]) else [name for name in AXES if name != "images"]
    return {name: str(frame[name].iloc[0]) for name in axes if frame[name].nunique() == 1 and frame[name].iloc[0] != ""}


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table, its words escaped, its columns aligned as for a terminal."""
    clean = table.rename(columns=escape).map(escape)
    return clean.to_markdown(index=False, disable_numparse=True, colalign=["left"] * len(table.columns))


def compact(table: pd.DataFrame) -> str:
    """The same without padding, of which one long cell would make a page's worth; "" for no rows."""
    if table.empty:
        return ""
    head, rule, *rows = re.sub(r" {2,}", " ", to_markdown(table)).split("\n")
    return "\n".join([head, re.sub(r"-+", "---", rule), *rows])


def escape(text: object) -> str:
    """`text` as one line in which Markdown and HTML find nothing to act on."""
    words = " ".join(str(text).split())
    words = re.sub(r"([\\`*~\[\]|]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", words)  # `_` inside a word does nothing
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(words: str) -> str:
    """Words as code in Markdown; as plain words where they hold what ends code."""
    return escape(words) if "`" in words or "\n" in words else f"`{words}`"


def _wide(frame: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    keys = ["model", *varying(frame)]
    indexed = frame.assign(**{name: frame[name].fillna("") for name in keys}).set_index([*keys, "id", column])
    wide = indexed[value].unstack(column, sort=False)
    return wide.droplevel("id").reset_index().rename_axis(columns=None)


def _grouped(frame: pd.DataFrame, chosen: pd.Series, keys: list[str]) -> pd.DataFrame:
    """The `chosen` rows, those with equal `keys` as one, with the cells that they speak of."""
    variants = [series(own, "batch", "size") for _, own in frame.groupby(["metric", "model"], sort=False)]
    sizes = frame.groupby(["metric", "model"])["size"].transform("nunique")
    rows = frame.assign(variant=pd.concat(variants), px=(frame["size"] + " px ").where(sizes > 1, ""))[chosen]
    return pd.DataFrame(
        [
            {**dict(zip(keys, names, strict=True)), "cells": "; ".join(_cells(own))}
            for names, own in rows.groupby(keys, sort=False)
        ]
    )


def _cells(rows: pd.DataFrame) -> Iterator[str]:
    """`sgformer_s, pvt_v2_b2 train 128, 224 px at batch 1, 8`: models, and what tells their cells of a metric apart."""
    found: dict[str, list[str]] = {}  # which cells -> models
    for (model, variant), own in rows.groupby(["model", "variant"], sort=False):
        alike: dict[str, list[str]] = {}  # batches -> sizes
        for px, one in own.groupby("px", sort=False):
            alike.setdefault(", ".join(map(str, one["batch"].unique())), []).append(str(px).removesuffix(" px "))
        places = (f"{', '.join(sizes)} px at batch {batches}".removeprefix(" px ") for batches, sizes in alike.items())
        cells = f"{str(variant).removeprefix(str(model))} {' and '.join(places)}".strip()
        found.setdefault(cells, []).append(str(model))
    for cells, models in found.items():
        yield f"{', '.join(models)} {cells}"
