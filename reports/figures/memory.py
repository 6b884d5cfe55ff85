"""What both pictures of memory share: measured on a GPU where it was, else predicted; points with a fitted curve."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.picture import conditions, legend, log_y, names
from reports.figures.series import ladders, lines, one_of
from reports.fits import Fit, polynomial
from reports.format import name, number, scale
from reports.frame import measured, series
from reports.style import canvas

_METRICS = {
    "peak_memory": ("peak of the CUDA allocator", "Measured peak of the CUDA allocator during a call."),
    "peak_live_bytes": (
        "peak of live tensors, predicted",
        "Predicted peak of live tensors during a call, weights included; scratch space inside operators is not.",
    ),
}
MIB = scale("peak_memory", "B").factor


@dataclass(frozen=True)
class Curves:
    """A drawing of memory over `x`, the rows behind it, what is to be said of them, each series' fit, in MiB."""

    figure: Figure
    axes: Axes
    points: pd.DataFrame
    caption: str
    fits: dict[str, Fit]


def asked(frame: pd.DataFrame, x: str) -> bool:
    """Whether memory was asked for at more than one `x`, measured or not."""
    return any(not ladders(frame[frame["metric"] == metric], x).empty for metric in _METRICS)


def curves(frame: pd.DataFrame, x: str, position: pd.Series, bend_from: int | None = None) -> Curves | None:
    """Draw the better metric that has more than one `x`, or None. position: where each row lies along the x axis.

    Fitted is a straight line, and a parabola for a series of at least `bend_from` points.
    """
    frame = frame.assign(position=position)
    found = {metric: ladders(measured(frame, metric), x) for metric in _METRICS}
    metric = next((metric for metric, points in found.items() if not points.empty), None)
    if metric is None:
        return None
    label, caption = _METRICS[metric]
    figure, axes = canvas()
    fits = {}
    for own, rows, look in lines(found[metric]):
        rows = rows.sort_values("position")
        at, mib = rows["position"].tolist(), (rows["value"] * MIB).tolist()
        fits[own] = fit = polynomial(at, mib, 2 if bend_from and len(at) >= bend_from else 1)
        axes.plot(at, mib, label=own, linestyle="none", **look)
        between = np.geomspace(at[0], at[-1], 50)  # and not beyond: a fit is no forecast
        axes.plot(between, fit(between), color=look["color"], linewidth=1)
    log_y(axes)
    axes.set_ylabel(f"{label} (MiB)")
    legend(figure, axes)
    caption = f"{caption} {conditions(found[metric])}{one_of(measured(frame, metric), x)}{_left_out(found, metric)}"
    return Curves(figure, axes, found[metric], caption, fits)


def _left_out(found: dict[str, pd.DataFrame], metric: str) -> str:
    """A sentence on those that have another metric over x and not this one."""
    every = pd.concat(found.values())
    who = series(every, "batch", "size")
    others = dict.fromkeys(who[~who.isin(who[every["metric"] == metric])])
    return f" Not drawn, for want of {name(metric)}: {names(others)}." if others else ""


def table(fits: dict[str, Fit], terms: dict[str, float]) -> pd.DataFrame:
    """The fits as words; terms: heading of each coefficient, and the factor to its unit."""
    return pd.DataFrame([_row(series, fit, terms) for series, fit in fits.items()])


def _row(series: str, fit: Fit, terms: dict[str, float]) -> dict[str, str]:
    row = {"series": series, **dict.fromkeys(terms, "-")}
    for (heading, factor), one in zip(terms.items(), fit.coefficients, strict=False):  # a line has fewer than terms
        row[heading] = number(one * factor, 4)
    residual = "-" if fit.residual is None else f"{fit.residual:.1%}"
    return {**row, "points": str(fit.points), "largest residual": residual}
