"""Heat maps: what each head of the last block looks at most, as EsViT's paper draws it. A picture a series."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.attention import origins
from reports.figures.choice import chosen, left_out, spread
from reports.figures.photograph import opened, overlay
from reports.figures.picture import Picture, file_names, names
from reports.format import number

_COLUMNS, _HEADS = 8, 31  # with the photograph four lines
_SIDE = 0.9  # inches
MASS = 0.6  # of the attention, which is drawn


def draw(frame: pd.DataFrame) -> list[Picture]:
    """The photograph and then a panel a head, up to 31, of the last block in the gallery of CCS; of trained weights."""
    rows, others = chosen(frame[frame["weights"] != "random"], lambda details: details["gallery"]["blocks"])
    pictures = []
    for name, (_, row) in zip(file_names("heat_maps", rows["series"]), rows.iterrows(), strict=True):
        gallery, mine = row["details"]["gallery"], rows.loc[[row.name]]
        block = gallery["blocks"][-1]
        few = "" if len(block["heads"]) <= _HEADS else f" Of {len(block['heads'])} heads {_HEADS} are shown."
        pictures.append(
            Picture(
                name,
                f"Heat maps of heads: {names([row['series']])}",
                f"Attention of one token ({names([block['query']])}) in {names([block['name']])} to each "
                f"patch of {names([gallery['image']])}: the patches with the most weight, {MASS:.0%} of all, over the "
                "grey photograph, bright where it is high, each map on a scale of its own. Heads in the order of the "
                f"entropy of the map that is drawn, the widest first.{few} {origins(mine)}{left_out(others)}",
                f"Heat maps of the heads of the last block over a photograph, for {names([row['series']])}.",
                _figure(gallery, block),
            )
        )
    return pictures


def most(weights: np.ndarray, mass: float = MASS) -> np.ndarray:
    """Which weights are kept, in the same shape: sorted ascending, those where the sum is above 1 - `mass` of all."""
    order = np.argsort(weights, axis=None, kind="stable")
    sums = np.cumsum(weights.ravel()[order])
    kept = np.zeros(weights.size, dtype=bool)
    kept[order] = sums > (1 - mass) * sums[-1]
    return kept.reshape(weights.shape)


def bits(weights: np.ndarray) -> float:
    """The entropy of a map (bit); of one of zeros 0. The class token's weight is not among them: the rest makes 1."""
    shares = weights[weights > 0] / (weights.sum() or 1.0)
    return float(-(shares * np.log2(shares)).sum())


def _figure(gallery: dict[str, Any], block: dict[str, Any]) -> Figure:
    photograph, grey = opened(gallery["jpeg"])
    height, width = grey.shape
    maps = [(head, np.reshape(weights, block["grid"])) for head, weights in enumerate(block["heads"], 1)]
    ordered = spread(sorted(maps, key=lambda one: -bits(one[1])), _HEADS)
    lines = -(-(1 + len(ordered)) // _COLUMNS)
    figure = Figure(figsize=(_SIDE * _COLUMNS, (_SIDE * height / width + 0.2) * lines + 0.1), layout="constrained")
    panels = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
        axes.set(xticks=[], yticks=[])  # which take time even where they aren't shown
    panels[0].imshow(photograph)
    for axes, (head, weights) in zip(panels[1:], ordered, strict=False):
        axes.imshow(overlay(weights, grey, most(weights)), interpolation="nearest")
        axes.set_title(f"head {head}: {number(bits(weights), 3)} bit", fontsize=6)
    return figure
