"""Reduction over resolution: whether what a model saves of its base stays as images grow."""

import numpy as np
import pandas as pd

from reports.figures.picture import Picture, asides, conditions, errorbar, legend, log_x, names, panels
from reports.figures.series import ladders, lines, one_of
from reports.format import name
from reports.frame import pixels
from reports.reductions import CHANGE, changes
from reports.style import BASE_LINE

_COSTS = ("macs", "macs_fvcore", "peak_live_bytes", "latency")


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A panel a cost, a line a model; nothing unless a model and its base were measured at two sizes or more."""
    rows = changes(frame[frame["metric"].isin(_COSTS)])
    rows = rows[rows["change_percent"].notna()]
    points = pd.concat([ladders(own, "size") for _, own in rows.groupby("base")] or [rows])
    if points.empty:
        return []
    against = points.groupby(["series", "base"])["against"].transform("first")
    points = points.assign(series=points["series"] + " against " + against)
    columns = dict(zip(CHANGE, ("value", "low", "high"), strict=True))
    points = points.drop(columns=columns.values()).rename(columns=columns)
    points = points.assign(position=np.log2(points["size"].map(pixels)))
    titles = [name(cost) for cost in _COSTS if cost in set(points["metric"])]
    figure, found = panels(titles, "image size (pixels a side)", "change (%)")
    aside = asides(points["position"], points["series"].nunique())
    for i, (series, own, look) in enumerate(lines(points)):
        for cost, curve in own.sort_values("position").groupby("metric", sort=False):
            errorbar(found[name(str(cost))], 2 ** (curve["position"] + aside[i]), curve, label=series, **look)
    sizes = points.drop_duplicates("position").sort_values("position")
    for axes in found.values():
        axes.axhline(0, **BASE_LINE)
        log_x(axes, dict(zip(2 ** sizes["position"], sizes["size"], strict=True)))
    legend(figure, *found.values())
    return [
        Picture(
            "reduction_size",
            "Change against the base over resolution",
            "Each number's change from the base's at the same size; the dashed line is the base. Lines join what was "
            "measured, on a scale of pixels. Latency with an interval of the quotients of both 95 % intervals' bounds. "
            "Each panel has a scale of its own; lines stand a little aside of each other. "
            f"{conditions(points)}{one_of(rows, 'size')}",
            f"Lines of the change of {names(found)} over image size for {names(points['model'])}.",
            figure,
        )
    ]
