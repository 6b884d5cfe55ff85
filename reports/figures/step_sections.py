"""Where a step of training goes: its MACs, time and memory by section. A picture a kind of step."""

from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reports.baselines import TRAINED, untagged
from reports.figures.picture import Picture, file_names, names
from reports.format import percent
from reports.steps import ACTIVATIONS, BACKWARD, COSTS, cells, sections, whole
from reports.style import FILLS

NAME, TITLE = "step_sections", "Where a step goes"
_TRAINED = {"pretrain": "pre-training", "train": "classifier"}  # where a model's name doesn't say
_STEPS = 6  # more make a picture higher than a page
_BAR, _HEADING = 0.2, 0.22  # inches of a bar, and of the words above three
_PALE = 0.6  # of the way to white
_ROOM = 0.06  # of a whole bar: where a share fits

Fill = tuple[str, str]  # colour, hatch


def draw(frame: pd.DataFrame) -> list[Picture]:
    """Three bars a step, of the up to 6 of a kind of which most was told apart."""
    rows = cells(frame)
    if rows.empty:
        return []
    trained = rows["model"].map(untagged).map(TRAINED)
    rows = rows.assign(trained=trained.fillna(rows["mode"].map(_TRAINED)))
    kinds = {str(kind): own for kind, own in rows.groupby("trained", sort=False)}
    return [_picture(file, *each) for file, each in zip(file_names(NAME, kinds), kinds.items(), strict=True)]


def _picture(file: str, kind: str, rows: pd.DataFrame) -> Picture:
    every = rows.drop_duplicates("series").sort_values("costs", ascending=False, kind="stable")["series"]
    shown = rows[rows["series"].isin(every[:_STEPS])]
    others = f" Not drawn, since {_STEPS} are: {names(every[_STEPS:])}." if len(every) > _STEPS else ""
    return Picture(
        file,
        f"{TITLE}: {kind}",
        "Shares of the multiply-accumulates of an image's whole step, of the time of a step with marks at the borders "
        "of sections, and of what is alive at the predicted peak of memory; at the right the whole. Full colour: "
        "forward, of memory activations. Pale: backward, of memory the rest: weights, gradients, the optimizer's "
        f"states and inputs. b: batch.{others}",
        f"Stacked bars of the shares of {names(COSTS.values())} by section of a step for {names(shown['series'])}.",
        _figure(shown),
    )


def _figure(rows: pd.DataFrame) -> Figure:
    told = sections(rows)
    fills = dict(zip(told, cycle(FILLS), strict=False))
    steps = [(str(name), own) for name, own in rows.groupby("series", sort=False)]
    costs = [cost for cost in COSTS.values() if cost in set(rows["cost"])]
    height = len(steps) * (_HEADING + _BAR * len(costs))
    figure = Figure(figsize=(6.4, 1.1 + height + 0.17 * (-(-(len(told) + 2) // 4))), layout="constrained")
    axes = figure.subplots()
    places, words, top = list[float](), list[str](), 0.0
    for name, own in steps:
        top += _HEADING
        axes.text(0, top - 0.07, name, fontsize=8)
        for cost in costs:
            places.append(top + _BAR / 2)
            words.append(cost)
            _bar(axes, places[-1], own[own["cost"] == cost], fills)
            top += _BAR
    axes.set_yticks(places, words)
    axes.set(xlim=(0, 1), ylim=(top + 0.04, 0))
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(lambda share, _: percent(share, 0))
    axes.set_xlabel("share of the whole (%)")
    figure.legend(handles=_marks(fills), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _bar(axes: Axes, place: float, own: pd.DataFrame, fills: dict[str, Fill]) -> None:
    """One cost of one step: its sections in their order, each first what is full, then what is pale."""
    if own.empty:
        axes.text(0.01, place, "not measured", va="center", fontsize=7)
        return
    left = 0.0
    for section, (colour, hatch) in fills.items():
        mine = own[own["section"] == section]
        pale = mine["phase"].eq(BACKWARD) | (mine["cost"].eq(COSTS["peak_live_bytes"]) & mine["phase"].ne(ACTIVATIONS))
        for shade, share in ((colour, mine.loc[~pale, "share"].sum()), (_pale(colour), mine.loc[pale, "share"].sum())):
            axes.barh(place, share, 0.85 * _BAR, left, color=shade, hatch=hatch, edgecolor="white", linewidth=0.5)
            if share > _ROOM:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
                axes.text(left + share / 2, place, percent(share, 0), ha="center", va="center", fontsize=6, bbox=box)
            left += share
    axes.text(1.01, place, whole(own), va="center", fontsize=7)


def _marks(fills: dict[str, Fill]) -> list[Patch]:
    sections = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=section)
        for section, (colour, hatch) in fills.items()
    ]
    full, pale = "#555555", _pale("#555555")
    return [
        *sections,
        Patch(facecolor=full, edgecolor="white", label="full: forward, activations"),
        Patch(facecolor=pale, edgecolor="white", label="pale: backward, the rest"),
    ]


def _pale(colour: str) -> str:
    red, green, blue = (channel + _PALE * (1 - channel) for channel in to_rgb(colour))
    return to_hex((red, green, blue))
