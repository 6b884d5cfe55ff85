"""Picture, and the marks and words that all pictures share."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from reports.tables import escape

_TWO_COLUMNS = 45  # letters that half a legend's line holds
_LINE, _ROOM = 0.17, 3  # height of a legend's line in inches; as many are within the picture's usual height
_FILE_NAME = 80  # letters


@dataclass(frozen=True)
class Picture:
    """figure is None where there was nothing to draw; caption then says what is missing. alt is for who cannot see.

    title, caption and alt are Markdown; table holds the numbers behind the picture, as words.
    """

    name: str
    title: str
    caption: str
    alt: str = ""
    figure: Figure | None = None
    table: pd.DataFrame | None = None


def errorbar(axes: Axes, x: pd.Series, rows: pd.DataFrame, **look: Any) -> None:
    """Points with their 95 % interval, where they have one."""
    below, above = rows["value"] - rows["low"].fillna(rows["value"]), rows["high"].fillna(rows["value"]) - rows["value"]
    axes.errorbar(x, rows["value"], yerr=[below, above], **look)


def panels(titles: Sequence[str], x: str, y: str, share: bool = True) -> tuple[Figure, dict[str, Axes]]:
    """An empty picture with a panel for each of `titles`, two a row, on the same x axis if they `share` one; x and y
    are what axes say."""
    columns = min(2, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(6.4, 1.0 + 1.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=share, squeeze=False).ravel()
    for axes in grid[len(titles) :]:
        axes.remove()
    found: dict[str, Axes] = dict(zip(titles, grid, strict=False))
    for i, (title, axes) in enumerate(found.items()):
        axes.set_title(title, loc="left", fontsize=9)
        if i % columns == 0:
            axes.set_ylabel(y)
        if i + columns >= len(titles):  # nothing is below it
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)
    return figure, found


def asides(places: Iterable[float], count: int) -> list[float]:
    """How far each of `count` lines stands aside of the `places` that they share, so that intervals don't hide others:
    together a half of the least distance of places."""
    at = sorted(set(places))
    spread = 0.5 * min((b - a for a, b in pairwise(at)), default=0.0)
    return [spread * ((i + 0.5) / count - 0.5) for i in range(count)]


def legend(figure: Figure, *drawn: Axes) -> None:
    """Below the picture, in as many columns as its words leave room for; many lines make the picture higher."""
    marks: dict[str, Artist] = {}
    for axes in drawn:
        for mark, word in zip(*axes.get_legend_handles_labels(), strict=True):
            marks.setdefault(word, mark)
    columns = 2 if max(map(len, marks)) <= _TWO_COLUMNS else 1
    figure.legend(list(marks.values()), list(marks), loc="outside lower center", ncols=columns, fontsize=8)
    lines = -(-len(marks) // columns)
    figure.set_figheight(figure.get_figheight() + _LINE * max(0, lines - _ROOM))


def log_x(axes: Axes, ticks: dict[float, str]) -> None:
    """A logarithmic x axis that names these places and no others."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())


def log_y(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers."""
    axes.set_yscale("log")
    plain_log(axes.yaxis)


def plain_log(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: 10, 20, 50, 100."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def conditions(points: pd.DataFrame) -> str:
    """What a reader must know of all points: mode, device, precision, attention path, preset."""
    words = [names(map(str, points[name])) for name in ("mode", "device", "precision", "attention", "preset")]
    return "Mode {}; device {}; precision {}; {} attention; preset {}.".format(*words)


def names(words: Iterable[str]) -> str:
    """Each word once, as Markdown."""
    return escape(", ".join(dict.fromkeys(words)))


def file_names(prefix: str, words: Iterable[str]) -> list[str]:
    """A file name for each of `words`: lower-case letters, digits, `-` and `_` only, no two alike."""
    found: dict[str, None] = {}
    for word in words:
        plain = re.sub("[^a-z0-9]+", "-", word.lower()).strip("-")[:_FILE_NAME]
        name, number = f"{prefix}_{plain}", 2
        while name in found:
            name, number = f"{prefix}_{plain}-{number}", number + 1
        found[name] = None
    return list(found)
