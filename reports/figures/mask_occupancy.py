"""Where masks fall: how often each cell of the grid is masked. A panel a mask generator."""

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from reports.figures.choice import few, left_out
from reports.figures.picture import Picture, names
from reports.format import number, percent
from reports.grouping import studies
from reports.style import MAP_COLOURS

METRIC = "mask_occupancy"
TITLE = "Where masks fall"
_SIDE = 2.9  # inches of a panel
_LETTERS = 46  # of a title's line
_FONT = 5  # points of a number in a cell, which wants this times
_WIDE = 2.4


def draw(frame: pd.DataFrame) -> list[Picture]:
    """Heat maps on one scale, up to 4; models whose masks fall alike share one."""
    rows, others = few(studies(frame, "occupancy", METRIC))
    if rows.empty:
        asked = METRIC in set(frame["metric"])
        return [Picture(METRIC, TITLE, "Not drawn: mask occupancy was asked for, and no cell has it.")] if asked else []
    masks = names(number(details["masks"], 1) for details in rows["details"])
    return [
        Picture(
            METRIC,
            TITLE,
            f"Share of {masks} random masks in which each cell of the grid is masked, all panels on one scale, from 0 "
            "to the highest of all, where there is room in percent. Above: the mean number of masked cells, and the "
            f"lowest and highest share. Masks that fall evenly have one share everywhere.{left_out(others)}",
            f"Heat maps of how often cells are masked, for {names(rows['series'])}.",
            _figure(rows),
            _table(rows),
        )
    ]


def _figure(rows: pd.DataFrame) -> Figure:
    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(0.7 + _SIDE * columns, (_SIDE + 0.25) * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(rows) :]:
        axes.remove()
    top = max(np.max(details["occupancy"]) for details in rows["details"])
    drawn = [
        _panel(axes, name, details, top)
        for axes, (name, details) in zip(panels, rows[["series", "details"]].to_numpy(), strict=False)
    ]
    figure.colorbar(
        drawn[0],
        ax=list(panels[: len(rows)]),
        label="share of masks (%)",
        format=lambda share, _: percent(share, 0),
        shrink=0.9,
        aspect=30,
    )
    return figure


def _panel(axes: Axes, name: str, details: dict[str, Any], top: float) -> AxesImage:
    shares = np.asarray(details["occupancy"], dtype=float)
    image = axes.imshow(shares, vmin=0, vmax=top, cmap=MAP_COLOURS)
    if 72 * _SIDE / max(shares.shape) > _WIDE * _FONT:
        for (row, column), share in np.ndenumerate(shares):
            colour = "black" if share > 0.6 * top else "white"
            word = percent(share, 0).removesuffix(" %")
            axes.text(column, row, word, ha="center", va="center", fontsize=_FONT, color=colour)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.set_title(f"{fill(name, _LETTERS)}\n{_said(details, shares)}", loc="left", fontsize=7)
    return image


def _said(details: dict[str, Any], shares: np.ndarray) -> str:
    """`75 of 196 cells masked, each 4.6 % to 70.0 %`."""
    removed = f"{number(details['removed'], 3)} of {shares.size} cells masked"
    return f"{removed}, each {percent(shares.min())} to {percent(shares.max())}"


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "model": name,
                "masks": number(details["masks"], 1),
                "grid": " x ".join(map(str, np.shape(details["occupancy"]))),
                "masked cells of a mask (mean)": number(details["removed"], 4),
                "lowest": percent(np.min(details["occupancy"])),
                "highest": percent(np.max(details["occupancy"])),
                "mean": percent(np.mean(details["occupancy"])),
            }
            for name, details in rows[["series", "details"]].to_numpy()
        ]
    )
