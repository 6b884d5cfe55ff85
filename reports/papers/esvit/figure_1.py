"""EsViT's figure 1: linear accuracy over throughput and over parameters, printed and measured."""

import math
from collections import Counter
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from reports.figures import Picture
from reports.figures.picture import legend, names, panels, plain_log
from reports.ledger.judging import Finding
from reports.papers.esvit.backbones import claim, measured, shares
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit
from reports.papers.units import MEGA
from reports.roster import DINO, PRINTED_1, TABLE_1, Entry
from reports.style import look_of
from reports.tables import escape

_TITLE = "Linear accuracy over throughput and parameters"
_SPEED, _SIZE = "throughput, DINO's ViT-B/8 being 1", "parameters (M)"
_UNITS = {_SPEED: 1.0, _SIZE: MEGA}
# Those that were probed and not fine-tuned.
_ROWS = {one.printed: one for one in PRINTED_1 if "fine-tuned" not in one.printed}

Point = tuple[float, Finding]  # the printed number, NaN where there is none, and ours


def figure_1(evidence: Evidence) -> Exhibit:
    """A panel each for throughput and parameters, a point a row of table 1."""
    points = {
        _SPEED: {name: shares(evidence, TABLE_1, one, DINO) for name, one in _ROWS.items()},
        _SIZE: {name: _size(evidence, one) for name, one in _ROWS.items()},
    }
    figure, found = panels(list(points), "", "published linear accuracy (%)", share=False)
    looks = _looks()
    for title, axes in found.items():
        for name, (printed, ours) in points[title].items():
            row = claim(evidence, TABLE_1, name, "linear")
            if row:
                _draw(axes, row.claim.value / row.claim.scale, printed, ours, label=name, **looks[name])
        _scale(axes, title)
    figure.set_figheight(figure.get_figheight() + 1.0)
    legend(figure, *found.values())
    places = dict.fromkeys(ours.place for _, ours in points[_SPEED].values() if ours.place)
    caption = (
        "Points are the rows of table 1: the figure's own were in no text that was found. Hollow: as printed; full: "
        "parameters and throughput as measured here, throughput with its 95 % interval; a line joins the two. What has "
        "no full point was not measured, and table 1 says why. Accuracy is as printed in either. Throughput is a "
        "multiple of that of DINO's ViT-B/8, which was measured in the same setting. Methods of several rows have a "
        f"colour each. Both x axes are logarithmic.{f' Measured on {names(places)}.' if places else ''}"
    )
    alt = f"Scatter plots of published linear accuracy over throughput and parameters for {escape('; '.join(_ROWS))}."
    return Exhibit(
        "esvit-figure-1",
        "Accuracy against throughput and parameters",
        "EsViT, figure 1",
        pictures=(Picture("esvit_figure_1", _TITLE, caption, alt, figure),),
    )


def _size(evidence: Evidence, one: Entry) -> Point:
    row = claim(evidence, TABLE_1, one.printed, "params")
    return row.claim.value if row else math.nan, measured(evidence, "value", "params", one)


def _draw(axes: Axes, height: float, printed: float, ours: Finding, **look: Any) -> None:
    """Both sides of a row, as far as there are any."""
    if not math.isnan(printed):
        axes.plot(printed, height, linestyle="none", fillstyle="none", **look)
        look["label"] = None
    if ours.interval:
        value, low, high = ours.interval
        ends = None if math.isnan(low) else [[value - low], [high - value]]
        axes.errorbar(value, height, xerr=ends, linestyle="none", **look)
        axes.plot([printed, value], [height] * 2, color=look["color"], linewidth=0.8, alpha=0.5)


def _scale(axes: Axes, title: str) -> None:
    """A logarithmic x axis with a name; numbers are SI beneath it."""
    axes.set_title("", loc="left")
    axes.set_xlabel(title)
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / _UNITS[title]:,.10g}")
    axes.margins(0.12)


def _looks() -> dict[str, dict[str, Any]]:
    """A colour a method of several rows, one for all others; in it a marker a row."""
    methods = Counter(name.partition(",")[0] for name in _ROWS)
    rows: dict[str, list[str]] = {}  # method, "" where it is alone -> its rows
    for name in _ROWS:
        method = name.partition(",")[0]
        rows.setdefault(method if methods[method] > 1 else "", []).append(name)
    return {
        name: look_of(colour, marker) for colour, own in enumerate(rows.values()) for marker, name in enumerate(own)
    }
