"""Head by head: which heads of a block attend alike. A picture a series, a panel a block."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.attention import origins, tag
from reports.figures.choice import chosen, left_out, spread
from reports.figures.picture import Picture, file_names, names
from reports.style import MAP_COLOURS

_PANELS, _COLUMNS = 12, 4


def draw(frame: pd.DataFrame) -> list[Picture]:
    """Up to 12 blocks of each, spread over the depth, on one scale."""
    rows, others = chosen(frame, lambda details: details["similarity"])
    pictures = []
    for name, (_, row) in zip(file_names("similarity", rows["series"]), rows.iterrows(), strict=True):
        own, details = rows.loc[[row.name]], row["details"]
        matrices = details["similarity"]
        shown = spread(list(matrices), _PANELS)
        blocks = "" if len(shown) == len(matrices) else f" {len(shown)} of {len(matrices)} blocks are shown."
        pictures.append(
            Picture(
                name,
                f"Similarity of heads: {names([row['series']])}",
                f"{tag(own)}Mean cosine of the rows of two heads' maps, 1 where they attend alike; numbers are "
                f"heads. Image: {names([details['gallery']['image']])}.{blocks} {origins(own)}{left_out(others)}",
                f"Matrices of the similarity of heads, one a block, for {names([row['series']])}.",
                _figure({label: np.asarray(matrices[label]) for label in shown}),
            )
        )
    return pictures


def _figure(matrices: dict[str, np.ndarray]) -> Figure:
    columns = min(_COLUMNS, len(matrices))
    lines = -(-len(matrices) // columns)
    figure = Figure(figsize=(6.4, 0.2 + 1.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, (label, matrix) in zip(panels.flat, matrices.items(), strict=False):
        heads = len(matrix)
        axes.set_axis_on()
        image = axes.imshow(matrix, vmin=0, vmax=1, cmap=MAP_COLOURS, extent=(0.5, heads + 0.5, heads + 0.5, 0.5))
        axes.set_title(label.replace("/", "/\n"), fontsize=6)
        axes.set_xticks([1, heads])
        axes.set_yticks([1, heads])
        axes.tick_params(labelsize=6, length=2)
        axes.grid(visible=False)
    figure.colorbar(image, ax=panels, label="cosine", shrink=0.9)
    return figure
