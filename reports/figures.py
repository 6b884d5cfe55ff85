"""Pictures: tidy frame in, a Picture out; one function each."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, ScalarFormatter

from reports.claims import published_top1
from reports.format import number, scale
from reports.frame import CELL, measured, varying
from reports.style import canvas, looks, styled


@dataclass(frozen=True)
class Picture:
    """figure is None where there was nothing to draw; caption then says what is missing. alt is for who cannot see."""

    name: str
    title: str
    caption: str
    alt: str = ""
    figure: Figure | None = None


@styled
def pictures(frame: pd.DataFrame) -> list[Picture]:
    """All pictures that a report shows. A model has the same colour and marker in each of them."""
    frame = with_series(frame)
    return [throughput_macs(frame), accuracy_throughput(frame), memory_batch(frame)]


def with_series(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the columns `series` (the model, and what else but the batch tells cells apart) and `look`."""
    apart = [name for name in varying(frame) if name not in ("batch", "impl")]
    series = frame[["model", *apart]].astype(str).agg(" ".join, axis="columns")
    timed = series[frame["metric"] == "throughput"]  # in every picture: the plainest looks are theirs
    return frame.assign(series=series, look=series.map(looks(dict.fromkeys([*timed, *series]))))


def throughput_macs(frame: pd.DataFrame) -> Picture:
    """Throughput against MACs, a point a batch: how far the count predicts the speed."""
    name, title = "throughput_macs", "Throughput against MACs"
    speed = measured(frame, "throughput")
    counts = measured(frame, "macs").set_index(CELL)["value"]
    points = speed.join(counts.rename("macs"), on=CELL).dropna(subset=["macs"])
    if points.empty:
        return Picture(name, title, "Not drawn: no cell has both throughput and MACs.")
    figure, axes = canvas()
    for series, rows in points.groupby("series", sort=False):
        rows = rows.sort_values("batch")
        x = rows["macs"] * scale("macs", "MAC").factor
        _errorbar(axes, x, rows, label=series, **rows["look"].iloc[0])
        for i, (position, value, batch) in enumerate(zip(x, rows["value"], rows["batch"], strict=True)):
            side, offset = ("left", 7) if i % 2 == 0 else ("right", -7)  # in turn, since batches may lie close
            axes.annotate(f"b{batch}", (position, value), (offset, -3), textcoords="offset points", ha=side, fontsize=7)
    axes.set_xlabel("MACs of one image (10⁹ multiply-accumulates)")
    axes.set_ylabel("throughput (images/s)")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.12)
    _legend(axes)
    return Picture(
        name,
        title,
        "Measured throughput with its 95 % interval; bN is the batch. MACs: matrix products and convolutions, "
        f"torch's counter. {_conditions(points)}",
        f"Scatter plot of throughput against MACs for {_names(points)}.",
        figure,
    )


def accuracy_throughput(frame: pd.DataFrame) -> Picture:
    """Published top-1 against measured throughput, each model at its fastest batch."""
    name, title = "accuracy_throughput", "Published top-1 against measured throughput"
    speed = measured(frame, "throughput")
    speed = speed[(speed["size"] == "224") & (speed["mode"] == "infer")]
    speed = speed.loc[speed.groupby("series", sort=False)["value"].idxmax()]
    published = published_top1().set_index("name")["top1"]
    points = speed.assign(top1=speed["model"].str.split(".").str[0].map(published))
    unknown = list(points.loc[points["top1"].isna(), "model"].unique())
    points = points.dropna(subset=["top1"])
    missing = f" No published figure in the claims, so not drawn: {', '.join(unknown)}." if unknown else ""
    if points.empty:
        return Picture(name, title, f"Not drawn: no model with a published top-1 was timed at 224 px.{missing}")
    figure, axes = canvas()
    for _, row in points.iterrows():
        xerr = [[row["value"] - row["low"]], [row["high"] - row["value"]]] if pd.notna(row["low"]) else None
        label = f"{row['series']} (b{row['batch']})"
        axes.errorbar(row["value"], row["top1"], xerr=xerr, linestyle="none", label=label, **row["look"])
    axes.set_xlabel("measured throughput (images/s)")
    axes.set_ylabel("published ImageNet-1K top-1 (%)")
    axes.set_xlim(left=0)
    axes.margins(y=0.15)
    _legend(axes)
    return Picture(
        name,
        title,
        "Accuracy is as published, at 224 px (sources below), not measured here; throughput is measured, each model "
        f"at its fastest batch (bN), with its 95 % interval. {_conditions(points)}{missing}",
        f"Scatter plot of published top-1 against throughput for {_names(points)}.",
        figure,
    )


def memory_batch(frame: pd.DataFrame) -> Picture:
    """Peak memory against batch: measured on a GPU where it was, else predicted."""
    name, title = "memory_batch", "Memory against batch"
    words = {
        "peak_memory": ("peak of the CUDA allocator", "Measured peak of the CUDA allocator during a call."),
        "peak_live_bytes": (
            "peak of live tensors, predicted",
            "Predicted peak of live tensors during a call, weights included; scratch space inside operators is not.",
        ),
    }
    found = {metric: _ladders(measured(frame, metric)) for metric in words}
    metric = next((metric for metric, points in found.items() if not points.empty), None)
    if metric is None:
        return Picture(name, title, "Not drawn: no memory was measured at more than one batch.")
    points, (label, caption) = found[metric], words[metric]
    shown = scale(metric, "B")
    figure, axes = canvas()
    for series, rows in points.groupby("series", sort=False):
        rows = rows.sort_values("batch")
        axes.plot(rows["batch"], rows["value"] * shown.factor, label=series, **rows["look"].iloc[0])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(sorted(points["batch"].unique()))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("batch (images)")
    axes.set_ylabel(f"{label} ({shown.unit})")
    _legend(axes)
    return Picture(
        name, title, f"{caption} {_conditions(points)}", f"Lines of memory over batch for {_names(points)}.", figure
    )


def _ladders(points: pd.DataFrame) -> pd.DataFrame:
    """Those series that have more than one batch."""
    return points[points.groupby("series")["batch"].transform("nunique") > 1]


def _errorbar(axes: Axes, x: pd.Series, rows: pd.DataFrame, **look: Any) -> None:
    below, above = rows["value"] - rows["low"].fillna(rows["value"]), rows["high"].fillna(rows["value"]) - rows["value"]
    axes.errorbar(x, rows["value"], yerr=[below, above], linestyle="none", **look)


def _legend(axes: Axes) -> None:
    axes.figure.legend(loc="outside lower center", ncols=2, fontsize=8)


def _conditions(points: pd.DataFrame) -> str:
    """What a reader must know of all points: device, precision, attention path, preset."""
    words = [", ".join(map(str, points[name].unique())) for name in ("device", "precision", "attention", "preset")]
    return "Device {}; precision {}; {} attention; preset {}.".format(*words)


def _names(points: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(points["model"]))
