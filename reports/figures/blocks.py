"""What the pictures of attention by block share: a line of means over the blocks, with dots for what they are of."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.attention import looked, origins, tag
from reports.figures.picture import Picture, legend, names
from reports.figures.series import lines
from reports.format import name
from reports.style import canvas

_SPREAD = 0.5  # of the way to the next block: series' dots lie side by side
_TICKS = 12
Block = tuple[float, list[float]]  # the mean (NaN: none) and its dots


def by_block(
    frame: pd.DataFrame,
    *,
    metric: str,
    title: str,
    label: str,
    meaning: str,
    blocks: Callable[[dict[str, Any]], list[Block]],
    top: float | None = None,
) -> list[Picture]:
    """A line a series; blocks: what to draw of a value's details; meaning: what lines and dots are, in a caption."""
    called, rows = f"{metric}_blocks", looked(frame, metric)
    word = name(metric)
    if rows.empty:
        asked = metric in set(frame["metric"])
        return [Picture(called, title, f"Not drawn: {word} was asked for, and no cell has it.")] if asked else []
    figure, axes = _plot(rows, blocks)
    axes.set_ylabel(label)
    axes.set_ylim(0, top)
    caption = f"{tag(rows)}{meaning} {origins(rows)}"
    return [Picture(called, title, caption, f"Lines of {word} over blocks for {names(rows['series'])}.", figure)]


def _plot(rows: pd.DataFrame, blocks: Callable[[dict[str, Any]], list[Block]]) -> tuple[Figure, Axes]:
    figure, axes = canvas()
    count = rows["series"].nunique()
    for i, (series, own, look) in enumerate(lines(rows)):
        found = blocks(own["details"].iloc[0])
        aside = _SPREAD * ((i + 0.5) / count - 0.5)
        dots = [(number + aside, dot) for number, (_, own_dots) in enumerate(found, 1) for dot in own_dots]
        if dots:
            x, y = zip(*dots, strict=True)
            axes.scatter(x, y, s=8, color=look["color"], alpha=0.5, linewidths=0)
        axes.plot(range(1, len(found) + 1), [mean for mean, _ in found], label=series, **look)
    depth = max(len(details["blocks"]) for details in rows["details"])
    axes.set_xticks(range(1, depth + 1, -(-depth // _TICKS)))
    axes.set_xlabel("block")
    legend(figure, axes)
    return figure, axes
