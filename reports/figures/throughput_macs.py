"""Throughput against MACs, a point a batch: how far the count predicts the speed."""

import pandas as pd

from reports.figures.picture import Picture, conditions, errorbar, legend, names
from reports.figures.series import lines, with_series
from reports.format import scale
from reports.frame import CELL, measured
from reports.style import canvas

_NAME, _TITLE = "throughput_macs", "Throughput against MACs"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """Inference only: a training step has MACs of its own."""
    if not {"throughput", "macs"} <= set(frame["metric"]):
        return []
    frame = frame[frame["mode"] == "infer"]
    counts = measured(frame, "macs").set_index(CELL)["value"]
    points = measured(frame, "throughput").join(counts.rename("macs"), on=CELL).dropna(subset=["macs"])
    if points.empty:
        return [Picture(_NAME, _TITLE, "Not drawn: no cell of mode infer has both throughput and MACs.")]
    points = with_series(points, "batch")
    figure, axes = canvas()
    for series, rows, look in lines(points):
        rows = rows.sort_values("batch")
        x = rows["macs"] * scale("macs", "MAC").factor
        errorbar(axes, x, rows, label=series, linestyle="none", **look)
        for i, (value, word) in enumerate(_words(rows, points["value"].max() / 30)):
            side, offset = ("left", 7) if i % 2 == 0 else ("right", -7)  # in turn, since batches may lie close
            axes.annotate(word, (x.iloc[0], value), (offset, -3), textcoords="offset points", ha=side, fontsize=7)
    axes.set_xlabel("MACs of one image (10⁹ multiply-accumulates)")
    axes.set_ylabel("throughput (images/s)")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.12)
    legend(figure, axes)
    return [
        Picture(
            _NAME,
            _TITLE,
            "Measured throughput with its 95 % interval; bN is the batch. MACs: matrix products and convolutions, "
            f"torch's counter. {conditions(points)}",
            f"Scatter plot of throughput against MACs for {names(points['model'])}.",
            figure,
        )
    ]


def _words(rows: pd.DataFrame, apart: float) -> list[tuple[float, str]]:
    """Heights and words of the points' labels; points of less than `apart` share one, which would overlap."""
    labels: list[tuple[float, str]] = []
    for value, batch in rows.sort_values("value")[["value", "batch"]].itertuples(index=False):
        if labels and value - labels[-1][0] < apart:
            labels[-1] = (labels[-1][0], f"{labels[-1][1]}, b{batch}")
        else:
            labels.append((value, f"b{batch}"))
    return labels
