"""Latency against batch: where a model stops being cheap because it is small, and starts paying for each image."""

import pandas as pd

from reports.figures.picture import Picture, conditions, errorbar, legend, log_x, log_y, names
from reports.figures.series import ladders, lines, one_of
from reports.format import scale
from reports.frame import measured
from reports.style import canvas

_NAME, _TITLE = "latency_batch", "Latency against batch"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A line a series; on both logarithmic axes, time proportional to the batch is a line of slope 1."""
    if ladders(frame[frame["metric"] == "latency"], "batch").empty:
        return []
    points = ladders(measured(frame, "latency"), "batch")
    if points.empty:
        return [Picture(_NAME, _TITLE, "Not drawn: no latency was measured at more than one batch.")]
    shown = scale("latency", "s")
    points = points.assign(**{column: points[column] * shown.factor for column in ("value", "low", "high")})
    figure, axes = canvas()
    for series, rows, look in lines(points):
        rows = rows.sort_values("batch")
        errorbar(axes, rows["batch"], rows, label=series, **look)
    log_x(axes, {batch: str(batch) for batch in sorted(points["batch"].unique())})
    log_y(axes)
    axes.set_xlabel("batch (images)")
    axes.set_ylabel(f"latency of a batch ({shown.unit})")
    legend(figure, axes)
    return [
        Picture(
            _NAME,
            _TITLE,
            "Median time of one call with its 95 % interval; both axes are logarithmic, so that time proportional to "
            f"the batch has slope 1. {conditions(points)}{one_of(measured(frame, 'latency'), 'batch')}",
            f"Lines of latency over batch for {names(points['model'])}.",
            figure,
        )
    ]
