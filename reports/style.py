"""One look for all pictures: colour-blind safe, told apart by marker where colour is lost, the same bytes each time."""

from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

# Okabe and Ito's palette (without its yellow, too pale on white), which differs in lightness too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")

# Colour and hatch of areas; a white hatch shows on each of these colours.
FILLS = tuple(zip((*_COLOURS[:6], "#777777"), ("", "//", "..", "\\\\", "xx", "--", "++"), strict=True))
EMPTY: dict[str, Any] = {
    "facecolor": "#f4f4f4",
    "edgecolor": "#aaaaaa",
    "hatch": "////",
    "linewidth": 0,
}  # nothing there
BASE_LINE: dict[str, Any] = {"color": "#777777", "linestyle": "--", "linewidth": 1, "zorder": 1}
MAP_COLOURS = "inferno"  # perceptually uniform, from black to pale: the same order in grey

_RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 6,
    "svg.fonttype": "none",
    "svg.hashsalt": "vitbench",
    "text.parse_math": False,  # a `$` in a name is a `$`
    "errorbar.capsize": 2.5,
}


styled = mpl.rc_context(_RC)  # as a decorator: what the function draws or saves has this look


def canvas() -> tuple[Figure, Axes]:
    """An empty picture, 16 x 10 cm."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    return figure, figure.add_subplot()


def all_looks() -> list[dict[str, Any]]:
    """Pairs of a colour and a marker, neighbours as different as can be; 70, all there are."""
    pairs = zip(cycle(_COLOURS), cycle(_MARKERS), range(len(_COLOURS) * len(_MARKERS)))
    return [{"color": colour, "marker": marker} for colour, marker, _ in pairs]


def look_of(colour: int, marker: int) -> dict[str, Any]:
    """The `colour`-th colour with the `marker`-th marker, where each of them means something."""
    return {"color": _COLOURS[colour % len(_COLOURS)], "marker": _MARKERS[marker % len(_MARKERS)]}


def labelled(number: int) -> tuple[str, str]:
    """The colour of the `number`-th of many areas that carry a label, paler with each round, and of the label on it."""
    again, first = divmod(number, len(FILLS))
    strength = 0.6 ** (again % 4)
    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(FILLS[first][0]))
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
    return to_hex((red, green, blue)), "black" if bright else "white"


@styled
def save(figure: Figure, folder: Path, name: str) -> list[str]:
    """Write NAME.png (200 dots an inch) and NAME.svg; returns these file names."""
    figure.savefig(folder / f"{name}.png", dpi=200)
    figure.set_layout_engine("none")  # that of the PNG stays: to find it takes as long as to draw
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return [f"{name}.png", f"{name}.svg"]
