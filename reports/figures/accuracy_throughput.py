"""Published top-1 against measured throughput, each model at its fastest batch."""

import pandas as pd

from reports.claims import published_top1
from reports.figures.picture import Picture, conditions, legend, names
from reports.figures.series import lines, with_series
from reports.frame import measured
from reports.style import canvas

_NAME, _TITLE = "accuracy_throughput", "Published top-1 against measured throughput"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """Inference at 224 px only, which is what the accuracies were published for."""
    if "throughput" not in set(frame["metric"]):
        return []
    speed = measured(frame, "throughput")
    speed = with_series(speed[(speed["size"] == "224") & (speed["mode"] == "infer")], "batch")
    speed = speed.loc[speed.groupby("series", sort=False)["value"].idxmax()]
    published = published_top1().set_index("name")["top1"]
    points = speed.assign(top1=speed["model"].str.split(".").str[0].map(published))
    unknown = points.loc[points["top1"].isna(), "model"]
    points = points.dropna(subset=["top1"])
    missing = "" if unknown.empty else f" No published figure in the claims, so not drawn: {names(unknown)}."
    if points.empty:
        caption = f"Not drawn: no model with a published top-1 was timed at 224 px.{missing}"
        return [Picture(_NAME, _TITLE, caption)]
    figure, axes = canvas()
    for series, rows, look in lines(points):
        best = rows.iloc[0]
        xerr = [[best["value"] - best["low"]], [best["high"] - best["value"]]] if pd.notna(best["low"]) else None
        label = f"{series} (b{best['batch']})"
        axes.errorbar(best["value"], best["top1"], xerr=xerr, linestyle="none", label=label, **look)
    axes.set_xlabel("measured throughput (images/s)")
    axes.set_ylabel("published ImageNet-1K top-1 (%)")
    axes.set_xlim(left=0)
    axes.margins(y=0.15)
    legend(figure, axes)
    return [
        Picture(
            _NAME,
            _TITLE,
            "Accuracy is as published, at 224 px (sources below), not measured here; throughput is measured, each "
            f"model at its fastest batch (bN), with its 95 % interval. {conditions(points)}{missing}",
            f"Scatter plot of published top-1 against throughput for {names(points['model'])}.",
            figure,
        )
    ]
