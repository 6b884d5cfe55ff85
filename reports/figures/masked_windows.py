"""Masked windows and their groups: what a mask leaves of each window, and how windows fill groups of one size."""

from itertools import combinations, groupby, product
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports.figures.choice import few, left_out
from reports.figures.picture import Picture, file_names, names
from reports.grouping import shifted, studies
from reports.style import EMPTY, labelled

_SIDE = 2.9  # inches of a grid, and of the bars beside it
_FONT, _LETTER = 5, 3.2  # points: its height, and about the width of a letter

Example = dict[str, Any]  # of a stage and shift, in the details of `padding`


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A picture a study and stage, a line of it a shift: the grid of tokens, and its groups."""
    stages = [
        {"series": f"{series} stage {stage}", "examples": list(examples)}
        for series, details in studies(frame, "example")[["series", "details"]].to_numpy().tolist()
        for stage, examples in groupby(details["example"], key=lambda one: one["stage"])
    ]
    rows, others = few(pd.DataFrame(stages, columns=["series", "examples"]))
    return [
        Picture(
            name,
            f"Masked windows and their groups: {names([row['series']])}",
            "Left: the grid of tokens under one random mask, removed cells hatched; what is left of a window has the "
            "colour and letter of its group and, where there is room, its number of tokens. Right: each group with its "
            "windows, and the padding that fills it to the size of all, hatched. Grouped by the released code's rule."
            f"{left_out(others)}",
            f"Grids of masked windows, and bars of their groups, for {names([row['series']])}.",
            _figure(row["examples"]),
        )
        for name, row in zip(file_names("masked_windows", rows["series"]), rows.to_dict("records"), strict=True)
    ]


def _figure(examples: list[Example]) -> Figure:
    figure = Figure(figsize=(6.4, (_SIDE + 0.4) * len(examples)), layout="constrained")
    for (left, right), example in zip(figure.subplots(len(examples), 2, squeeze=False), examples, strict=True):
        _grid(left, example)
        _bars(right, example)
    return figure


def _grid(axes: Axes, example: Example) -> None:
    side, removed = example["side"], _cells(example)
    cell = side // len(removed)
    for window in example["windows"]:
        place = (window["column"], window["row"]), window["width"], window["height"]
        axes.add_patch(Rectangle(*place, facecolor=labelled(window["group"])[0]))
        axes.add_patch(Rectangle(*place, fill=False, edgecolor="black", linewidth=0.7, zorder=3))
        _label(axes, window, removed, cell, 72 * _SIDE / side)
    for row, column in np.argwhere(removed):
        axes.add_patch(Rectangle((column * cell, row * cell), cell, cell, zorder=2, **EMPTY))
    axes.set(xlim=(0, side), ylim=(side, 0), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=EMPTY["edgecolor"])
    title = f"{side} x {side} tokens, window {example['window']}, {shifted(example['shift'])}"
    axes.set_title(title, loc="left", fontsize=8)


def _label(axes: Axes, window: dict[str, int], removed: np.ndarray, cell: int, points: float) -> None:
    """The window's group and tokens in what is left of it, where there is room; points: the side of a token."""
    x, y, width, height = _room(window, removed, cell)
    letter = _letter(window["group"])
    fitting = (word for word in (f"{letter}{window['tokens']}", letter) if _LETTER * len(word) < width * points)
    if height * points > _FONT:
        _write(axes, x + width / 2, y + height / 2, next(fitting, ""), window["group"])


def _room(window: dict[str, int], removed: np.ndarray, cell: int) -> tuple[int, int, int, int]:
    """x, y, width and height of the largest rectangle of visible tokens in a window."""
    ends = window["column"] + window["width"], window["row"] + window["height"]
    across, down = (
        range(start // cell, -(-end // cell) + 1)
        for start, end in zip((window["column"], window["row"]), ends, strict=True)
    )
    found = []
    for (left, right), (top, bottom) in product(combinations(across, 2), combinations(down, 2)):
        if not removed[top:bottom, left:right].any():
            x, y = max(left * cell, window["column"]), max(top * cell, window["row"])
            found.append((x, y, min(right * cell, ends[0]) - x, min(bottom * cell, ends[1]) - y))
    return max(found, key=lambda room: room[2] * room[3])


def _bars(axes: Axes, example: Example) -> None:
    size, filled = example["size"], dict[int, int]()
    for window in sorted(example["windows"], key=lambda one: one["group"]):
        group, tokens = window["group"], window["tokens"]
        start = filled.get(group, 0)
        axes.barh(group, tokens, left=start, color=labelled(group)[0], edgecolor="white", linewidth=0.7)
        if _LETTER * len(str(tokens)) < 72 * _SIDE * tokens / size:
            _write(axes, start + tokens / 2, group, str(tokens), group)
        filled[group] = start + tokens
    for group, tokens in filled.items():
        axes.barh(group, size - tokens, left=tokens, **EMPTY)
    padding = 1 - sum(filled.values()) / (size * len(filled))
    axes.set(xlim=(0, size), ylim=(len(filled) - 0.4, -0.6))
    axes.set_xlabel("tokens", fontsize=8)
    axes.set_yticks(list(filled), list(map(_letter, filled)))
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", labelsize=6, length=0)
    axes.grid(visible=False)
    axes.set_title(f"{len(filled)} groups of {size}, {padding:.0%} padding", loc="left", fontsize=8)


def _write(axes: Axes, x: float, y: float, word: str, group: int) -> None:
    axes.text(x, y, word, ha="center", va="center", fontsize=_FONT, color=labelled(group)[1], zorder=4)


def _cells(example: Example) -> np.ndarray:
    removed = np.asarray(example["removed"], dtype=bool)
    return removed.reshape(2 * [round(len(removed) ** 0.5)])


def _letter(group: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    rest, last = divmod(group, len(ascii_uppercase))
    return (_letter(rest - 1) if rest else "") + ascii_uppercase[last]
