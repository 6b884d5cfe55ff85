"""Entropies of heads: how wide the heads of the last block look, the widest first. A line a series."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reports.attention import looked, origins
from reports.figures.picture import Picture, legend, names, panels
from reports.figures.series import lines

_ACCURACY = "correspondence_accuracy"
_NAME, _TITLE = "head_entropies", "Entropies of the last block's heads"
_MEAN, _VIEWS = "mean over photographs", "two views of photographs"
_TICKS = 8


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A panel of the metric entropy, and one of both views where correspondences have the entropies of heads; of
    trained weights."""
    frame = frame[frame["weights"] != "random"]
    rows = looked(frame, "entropy")
    views = looked(frame, _ACCURACY)
    views = views[views["details"].map(lambda details: bool(details.get("entropy"))).astype(bool)]
    if rows.empty and views.empty:
        asked = "entropy" in set(frame["metric"])
        return [Picture(_NAME, _TITLE, "Not drawn: entropy was asked for, and no cell has it.")] if asked else []
    figure, found = panels([title for title, one in ((_MEAN, rows), (_VIEWS, views)) if not one.empty],
                           "head, the widest first", "entropy of a row (bit)")  # fmt: skip
    for label, one, look in lines(rows) if _MEAN in found else ():
        _plot(found[_MEAN], one["details"].iloc[0]["blocks"][-1]["entropy"], label, look)
    for label, one, look in lines(views) if _VIEWS in found else ():
        first, second = one["details"].iloc[0]["entropy"][-1]["views"]
        _plot(found[_VIEWS], first, label, look)
        _plot(found[_VIEWS], second, f"{label}, second view", {**look, "linestyle": "--", "fillstyle": "none"})
    top = 1.05 * max(axes.dataLim.y1 for axes in found.values())
    for axes in found.values():
        most = round(axes.dataLim.x1)
        axes.set_xticks(range(1, most + 1, -(-most // _TICKS)))
        axes.set_ylim(0, top)
    legend(figure, *found.values())
    every = pd.concat([rows, views])
    second = " Dashed: the second view, flipped and grey." if _VIEWS in found else ""
    return [
        Picture(
            _NAME,
            _TITLE,
            "Entropy of the attention rows of each head of a model's last block, mean over rows and "
            "images, sorted. 0 is attention to one token, log₂ of the number of keys to all alike, so that fewer keys "
            f"reach less high.{second} {origins(every)}",
            f"Lines of sorted entropies of heads for {names(every['series'])}.",
            figure,
        )
    ]


def _plot(axes: Axes, entropies: list[float], label: str, look: dict[str, Any]) -> None:
    heights = sorted(entropies, reverse=True)
    axes.plot(range(1, len(heights) + 1), heights, label=label, **{"markersize": 4, **look})
