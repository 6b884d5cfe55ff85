"""Cost over the size of groups: what a stage's attention costs when windows are packed into groups of each size."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.choice import few, left_out
from reports.figures.picture import Picture, file_names, legend, log_x, log_y, names, panels
from reports.grouping import RULES, choices, shifted, studies
from reports.style import BASE_LINE, all_looks

_MILLION = 1e-6
_MARKS = (9, 7, 4)  # points; hollow, one in the other where rules agree
_WIDE = 8  # the largest size as a multiple of the smallest, above which axes are logarithmic
_TICKS = [digit * 10**power for power in range(5) for digit in (1, 2, 5)]


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A picture a study, a panel a stage and shift that has more than one size to choose from."""
    rows = studies(frame, "curves")
    swept = [[curve for curve in details["curves"] if len(curve["sizes"]) > 1] for details in rows["details"]]
    rows = rows.assign(swept=pd.Series(swept, index=rows.index, dtype=object))
    rows, others = few(rows[rows["swept"].map(bool).astype(bool)])
    return [
        Picture(
            name,
            f"Cost over group size: {names([row['series']])}",
            "Multiply-accumulates of one attention layer by the paper's formula, with the padding that fills the "
            f"groups, over {row['details']['masks']} random masks that keep {row['details']['keep']} cells of "
            f"{row['details']['side']} x {row['details']['side']}: line and band are mean and deviation over masks. "
            "Dashed: without any padding. Marks: mean size and cost of what each rule chooses mask by mask, which "
            "may lie off the line; official: the released code's, which makes one group of few tokens, search: the "
            "cheapest size, packed: the cheapest packing over all sizes (the models' own prices the whole block, and "
            "may choose otherwise). "
            f"Each panel has ranges of its own; wide ones are logarithmic.{left_out(others)}",
            f"Lines of attention's cost over group size, a panel a stage and shift, for {names([row['series']])}.",
            _figure(row["swept"]),
        )
        for name, row in zip(file_names("group_size", rows["series"]), rows.to_dict("records"), strict=True)
    ]


def _figure(curves: list[dict[str, Any]]) -> Figure:
    titles = [f"stage {one['stage']}, {shifted(one['shift'])}" for one in curves]
    figure, found = panels(titles, "group size (tokens)", "MACs (10⁶)", share=False)
    for curve, axes in zip(curves, found.values(), strict=True):
        _panel(axes, curve)
    legend(figure, *found.values())
    return figure


def _panel(axes: Axes, curve: dict[str, Any]) -> None:
    line, *looks = all_looks()
    sizes, floor = curve["sizes"], curve["floor"] * _MILLION
    mean, deviation = (pd.Series(curve[one], dtype=float) * _MILLION for one in ("mean", "deviation"))
    axes.plot(sizes, mean, color=line["color"], label="mean over masks")
    axes.fill_between(sizes, mean - deviation, mean + deviation, color=line["color"], alpha=0.25, linewidth=0)
    axes.axhline(floor, label="without padding", **BASE_LINE)
    chosen = choices(curve)
    for rule, look, side in zip(RULES, looks, _MARKS, strict=False):
        if rule in chosen:
            at = chosen[rule]["size"], chosen[rule]["cost"] * _MILLION
            axes.plot(*at, label=rule, linestyle="none", markersize=side, markerfacecolor="none", **look)
    if sizes[-1] > _WIDE * sizes[0]:
        log_x(axes, {size: str(size) for size in _TICKS if sizes[0] <= size <= sizes[-1]})
        log_y(axes)
