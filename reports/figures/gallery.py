"""Gallery: where each head looks in a photograph, block by block. A picture a series."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from reports.attention import origins, tag
from reports.figures.choice import chosen, left_out, spread
from reports.figures.photograph import opened, overlay
from reports.figures.picture import Picture, file_names, names
from reports.format import number
from reports.style import MAP_COLOURS

_HEADS = 12


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A row a block, the photograph first and then a column a head, up to 12."""
    rows, others = chosen(frame, lambda details: details["gallery"]["blocks"])
    pictures = []
    for name, (_, row) in zip(file_names("gallery", rows["series"]), rows.iterrows(), strict=True):
        own, gallery = rows.loc[[row.name]], row["details"]["gallery"]
        most = max(len(block["heads"]) for block in gallery["blocks"])
        heads = "" if most <= _HEADS else f" Of more than {_HEADS} heads as many are shown, spread over all."
        queries = names(block["query"] for block in gallery["blocks"])
        pictures.append(
            Picture(
                name,
                f"Where heads look: {names([row['series']])}",
                f"{tag(own)}Attention of one token ({queries}) to each patch of {names([gallery['image']])}, drawn "
                "over the grey photograph, bright where it is high. Each map has a scale of its own, from 0 to its "
                f"largest weight, which is written above it.{heads} {origins(own)}{left_out(others)}",
                f"Attention maps of heads over a photograph, a row a block, for {names([row['series']])}.",
                _figure(gallery),
            )
        )
    return pictures


def _figure(gallery: dict[str, Any]) -> Figure:
    blocks = gallery["blocks"]
    photograph, grey = opened(gallery["jpeg"])
    height, width = grey.shape
    columns = 1 + min(_HEADS, max(len(block["heads"]) for block in blocks))
    side = min(1.2, 7.2 / columns)
    figure = Figure(
        figsize=(side * columns + 0.8, (side * height / width + 0.45) * len(blocks) + 0.1), layout="constrained"
    )
    panels = figure.subplots(len(blocks), columns, squeeze=False)
    for line, block in zip(panels, blocks, strict=True):
        for axes in line:
            axes.set_axis_off()
            axes.set(xticks=[], yticks=[])  # which take time even where they aren't shown
        line[0].imshow(photograph)
        line[0].set_title(f"{block['name']}\n\n ", loc="left", fontsize=6).set_in_layout(False)  # over those of heads
        heads = list(enumerate(block["heads"], 1))
        for axes, (head, weights) in zip(line[1:], spread(heads, _HEADS), strict=False):
            weights = np.reshape(weights, block["grid"])
            axes.imshow(overlay(weights, grey), interpolation="nearest")
            axes.set_title(f"head {head}\n{number(weights.max(), 2)}", fontsize=6)
    bar = figure.colorbar(ScalarMappable(cmap=MAP_COLOURS), ax=panels, shrink=0.8, aspect=40, ticks=[0, 1])
    bar.ax.set_yticklabels(["0", "map's\nlargest"], fontsize=6)
    return figure
