"""Correspondences: which regions of two views a model takes for the same. A panel a model."""

from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from reports.attention import looked, origins, tag
from reports.figures.choice import few, left_out
from reports.figures.photograph import opened
from reports.figures.picture import Picture, legend, names

_ACCURACY = "correspondence_accuracy"
_TITLE = "Regions that correspond"
_GAP = 0.06  # between the views, of their width
_LETTERS = 48  # of a title's line in half a picture
_LOOKS: dict[bool, dict[str, Any]] = {  # told apart by dashes too
    True: {"color": "#009E73", "linestyle": "-", "label": "right: the region itself"},
    False: {"color": "#D55E00", "linestyle": (0, (3, 1.5)), "label": "wrong: another region"},
}


_EDGE = [Stroke(linewidth=2.6, foreground="white"), Normal()]  # so that a line shows on any photograph


def draw(frame: pd.DataFrame) -> list[Picture]:
    """Both views of one image side by side with the matches that count, up to 4 models, trained ones first."""
    rows = looked(frame, _ACCURACY)
    rows = rows[rows["details"].map(lambda details: bool(details.get("pair"))).astype(bool)]
    rows, others = few(rows.sort_values("weights", key=lambda weights: weights == "random", kind="stable"))
    if rows.empty:
        failed = (frame["metric"] == _ACCURACY).any()
        return [Picture("correspondences", _TITLE, "Not drawn: no cell has correspondences.")] if failed else []
    return [
        Picture(
            "correspondences",
            _TITLE,
            f"{tag(rows)}Left: an image; right: its view, flipped and grey. Lines: the matches of regions "
            "that count, those with the highest cosine, from the centre of one region to that of the other; right is a "
            "match with exactly the place where the region was. The share that is right is of this image, the accuracy "
            f"over all is in the table. {origins(rows)}{left_out(others)}",
            f"Two views of a photograph with lines between regions that match, for {names(rows['series'])}.",
            _figure(rows),
        )
    ]


def _figure(rows: pd.DataFrame) -> Figure:
    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    width = 6.4 / columns
    words = max(len(_title(*row).splitlines()) for row in rows[["series", "details"]].to_numpy())
    height = (width / (2 + _GAP) + 0.12 * words + 0.11) * lines + 0.45
    figure = Figure(figsize=(6.4, height), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (label, details) in zip(panels, rows[["series", "details"]].to_numpy(), strict=False):
        _panel(axes, label, details)
    legend(figure, *panels[: len(rows)])
    return figure


def _panel(axes: Axes, label: str, details: dict[str, Any]) -> None:
    pair, (height, width) = details["pair"], details["size"]
    shift = width * (1 + _GAP)  # of the second view
    for view, jpeg in enumerate(pair["jpegs"]):
        left = view * shift
        axes.imshow(opened(jpeg)[0], extent=(left, left + width, height, 0))  # whatever size it was stored in
    for y1, x1, y2, x2, _, error in pair["matches"]:
        look = _LOOKS[error == 0] | {"label": None, "marker": "o", "markersize": 2.5, "path_effects": _EDGE}
        axes.plot([x1, x2 + shift], [y1, y2], linewidth=1.1, **look)
    for look in _LOOKS.values():
        axes.add_line(Line2D([], [], **look))  # for the legend, which has both even if all or none are right
    axes.set(xlim=(0, shift + width), ylim=(height, 0), xticks=[], yticks=[])
    axes.set_title(_title(label, details), loc="left", fontsize=7)


def _title(label: str, details: dict[str, Any]) -> str:
    matches, (rows, columns) = details["pair"]["matches"], details["grid"]
    right = sum(match[5] == 0 for match in matches)
    return f"{fill(label, _LETTERS)}\n{right} of {len(matches)} right, regions {rows} x {columns}"
