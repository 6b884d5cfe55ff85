"""Picture, and the marks and words that all pictures share."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
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


def legend(figure: Figure, axes: Axes) -> None:
    """Below the picture, in as many columns as its words leave room for; many lines make the picture higher."""
    words = axes.get_legend_handles_labels()[1]
    columns = 2 if max(map(len, words)) <= _TWO_COLUMNS else 1
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8)
    lines = -(-len(words) // columns)
    figure.set_figheight(figure.get_figheight() + _LINE * max(0, lines - _ROOM))


def log_x(axes: Axes, ticks: dict[float, str]) -> None:
    """A logarithmic x axis that names these places and no others."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())


def log_y(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers: 10, 20, 50, 100."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


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
