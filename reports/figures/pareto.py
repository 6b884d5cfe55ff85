"""Throughput against MACs, parameters and memory: which models are dominated, in one setting."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reports.figures.picture import Picture, legend, log_y, names, panels, plain_log
from reports.format import scale
from reports.pareto import BY_KEY, FAMILIES, Metric, dominated, label, points
from reports.style import look_of

_NAME, _TITLE = "pareto", "Pareto view"
_UP = BY_KEY["throughput"]
_ACROSS = ("macs", "params", "peak_memory", "peak_live_bytes", "top1")
_BEATEN = "#bbbbbb"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A panel a metric; of settings of mode infer the one with most models."""
    if not points(frame):
        return []
    own = _one_setting(point for point in points(frame) if point["setting"]["mode"] == "infer")
    found = {BY_KEY[key]: [point for point in own if key in point["metrics"]] for key in _ACROSS}
    found = {across: some for across, some in found.items() if some}
    if not found:
        return [
            Picture(
                _NAME,
                _TITLE,
                "Not drawn: no cell of mode infer has throughput and what it is set against. The page for the browser "
                "has a chart of what else was measured.",
            )
        ]
    figure, grid = panels([label(across) for across in found], "", label(_UP), share=False)
    figure.set_figheight(figure.get_figheight() * 1.35)
    fronts = [_panel(grid[label(across)], across, some) for across, some in found.items()]
    legend(figure, *grid.values())
    drawn = {point["name"]: None for some in found.values() for point in some}
    left = [point["name"] for point in own if point["name"] not in drawn]
    return [
        Picture(
            _NAME,
            _TITLE,
            "Throughput is measured, with its 95 % interval; axes are logarithmic, but for a published accuracy's. "
            "Grey: dominated, which is to say that another model is at least as good in both and better in one, by "
            "the medians, also where intervals overlap. The dashed line is the front of the others, numbered from the "
            "left. "
            f"One setting, that with most models: {names([own[0]['words']])}; all in [values.csv](values.csv)."
            f"{f' Not drawn, for want of the other number: {names(left)}.' if left else ''}",
            f"Scatter plots of throughput over {names(label(across) for across in found)} for {names(drawn)}.",
            figure,
            pd.DataFrame(
                {
                    "throughput against": [across.name for across in found],
                    "models": [str(len(some)) for some in found.values()],
                    "on the front": [", ".join(front) for front in fronts],
                }
            ),
        )
    ]


def _one_setting(every: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points with a throughput of the setting that has most of them."""
    settings: dict[str, list[dict[str, Any]]] = {}
    for point in every:
        if _UP.key in point["metrics"]:
            settings.setdefault(point["words"], []).append(point)
    return max(settings.values(), key=len, default=[])


def _panel(axes: Axes, across: Metric, some: Sequence[dict[str, Any]]) -> list[str]:
    """Draw the points of a panel; returns the names on the front, with their numbers."""
    pairs = [(_shown(point, across), _shown(point, _UP)) for point in some]
    beaten = dominated(pairs, across.more, _UP.more)
    for (x, y), point, worse in zip(pairs, some, beaten, strict=True):
        of = FAMILIES.index(point["family"])
        look = look_of(of, of) | {"markersize": 5, "linestyle": "none"}
        axes.plot([], [], label=point["family"], **look)  # the legend's mark, coloured also where all are dominated
        bars = [[y - _shown(point, _UP, "low")], [_shown(point, _UP, "high") - y]]
        axes.errorbar(x, y, yerr=bars, **(look | ({"color": _BEATEN, "zorder": 1.5} if worse else {})))
    front = sorted((*pair, point["name"]) for pair, point, worse in zip(pairs, some, beaten, strict=True) if not worse)
    axes.step(
        [x for x, *_ in front],
        [y for _, y, _ in front],
        where="pre" if across.more else "post",
        color="#777777",
        linestyle="--",
        zorder=1,
    )
    for place, (x, y, _) in enumerate(front, start=1):
        axes.annotate(str(place), (x, y), (-6, 5), textcoords="offset points", ha="center", fontsize=7)
    axes.set_title("", loc="left")
    axes.set_xlabel(label(across))
    if not across.more:
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    log_y(axes)
    axes.margins(0.16)
    return [f"{place} {name}" for place, (*_, name) in enumerate(front, start=1)]


def _shown(point: dict[str, Any], metric: Metric, end: str = "value") -> float:
    """Value, low or high in the unit that people read; an end is the value where there is no interval."""
    number = point["metrics"][metric.key]
    value: float = number["value"] if number[end] is None else number[end]
    return value * scale(metric.key, metric.unit).factor
