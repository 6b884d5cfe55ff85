"""Where tokens go that are merged by significance: maps of one photograph, a row a stage. A picture a series."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from reports.attention import looked, origins, tag
from reports.figures.choice import few, left_out
from reports.figures.photograph import opened
from reports.figures.picture import Picture, file_names, names
from reports.format import number
from reports.style import MAP_COLOURS

_COLUMNS = ("photograph", "significance", "tokens merged into one", "mean colour of each")
_WIDTH, _SIDE = 7.6, 1.66  # inches: of all, and of a map


def draw(frame: pd.DataFrame) -> list[Picture]:
    """The photograph, its significance, how many tokens are merged, and what the merged tokens can tell apart."""
    rows, others = few(looked(frame, "significance"))
    pictures = []
    for name, (_, row) in zip(file_names("significance", rows["series"]), rows.iterrows(), strict=True):
        own, details = rows.loc[[row.name]], row["details"]
        pictures.append(
            Picture(
                name,
                f"Where tokens go: {names([row['series']])}",
                f"{tag(own)}The first guided block of each stage, on {names([details['image']])}. Significance: of "
                "each token, their mean being 1; bright is high, each map on a scale of its own. Tokens merged into "
                "one: of how many the one is made that a token goes to; bright is fine grain. Mean colour: of the "
                "photograph, over all tokens that are merged with one; what has one colour is not told apart. "
                f"{origins(own)}{left_out(others)}",
                "The photograph, significance, size of merged tokens and their mean colour, a row a stage, for "
                f"{names([row['series']])}.",
                _figure(details),
                _table(details),
            )
        )
    return pictures


def _figure(details: dict[str, Any]) -> Figure:
    photograph, _ = opened(details["jpeg"])
    maps = details["maps"]
    height, width = photograph.shape[:2]
    figure = Figure(figsize=(_WIDTH, _SIDE * height / width * len(maps) + 0.2), layout="constrained")
    panels = figure.subplots(len(maps), len(_COLUMNS), squeeze=False)
    for line, one in zip(panels, maps, strict=True):
        significance, token, length = (np.asarray(one[key]) for key in ("significance", "token", "length"))
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
        line[0].set_ylabel(one["name"], fontsize=7)
        line[0].imshow(photograph)
        shown = line[1].imshow(significance / (significance.mean() or 1.0), cmap=MAP_COLOURS)
        figure.colorbar(shown, ax=line[1], shrink=0.8).ax.tick_params(labelsize=6)
        _lengths(figure, line[2], length)
        line[3].imshow(mean_colours(photograph, token))
    for axes, title in zip(panels[0], _COLUMNS, strict=True):
        axes.set_title(title, fontsize=8)
    return figure


def _lengths(figure: Figure, axes: Axes, length: np.ndarray) -> None:
    """A colour for each length that occurs, fine grain bright."""
    found = np.unique(length)
    place = np.searchsorted(found, length)
    edges = np.arange(len(found) + 1) - 0.5
    cells = axes.imshow(place, cmap=f"{MAP_COLOURS}_r", norm=BoundaryNorm(edges, 256))
    bar = figure.colorbar(cells, ax=axes, shrink=0.8, ticks=np.arange(len(found)))
    bar.ax.set_yticklabels([str(one) for one in found], fontsize=6)
    bar.ax.yaxis.set_minor_locator(NullLocator())


def mean_colours(photograph: np.ndarray, token: np.ndarray) -> np.ndarray:
    """RGB (rows, columns, 3), 0 to 255: of each place of `token` (rows, columns), which holds indices, the mean of the
    photograph (height, width, 3) over all places with the same index."""
    rows, columns = (
        np.arange(pixels) * cells // pixels for pixels, cells in zip(photograph.shape[:2], token.shape, strict=True)
    )
    index = token[rows[:, None], columns].ravel()
    count = np.maximum(np.bincount(index), 1)
    means = [np.bincount(index, photograph[..., channel].ravel()) / count for channel in range(3)]
    colours: np.ndarray = np.stack(means, axis=-1)[token].astype(np.uint8)
    return colours


def _table(details: dict[str, Any]) -> pd.DataFrame:
    """The share of the most significant quarter of tokens, a row a block, as words."""
    return pd.DataFrame(
        [
            {"block": block["name"], "share of the most significant quarter (even: 0.25)": number(block["value"], 3)}
            for block in details["blocks"]
        ]
    )
