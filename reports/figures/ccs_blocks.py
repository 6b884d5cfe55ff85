"""CCS by block: where in the depth heads attend alike."""

import re
from math import nan
from typing import Any

import pandas as pd

from reports.attention import looked, origins, tag
from reports.figures.blocks import Block, by_block
from reports.figures.picture import Picture, names

_NAME, _TITLE = "ccs_blocks", "Similarity of heads by block (CCS)"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A line a series; a block with one head has no pairs and breaks it."""
    rows = looked(frame, "ccs")
    if rows.empty:
        asked = "ccs" in set(frame["metric"])
        return [Picture(_NAME, _TITLE, "Not drawn: CCS was asked for, and no cell has it.")] if asked else []
    figure, axes = by_block(rows, _blocks)
    axes.set_ylabel("mean cosine of two heads' maps (CCS)")
    axes.set_ylim(0, 1.02)
    return [
        Picture(
            _NAME,
            _TITLE,
            f"{tag(rows)}Lines: mean over head pairs i < j, rows and images; dots: each pair, of one image. A "
            f"gap is a block with one head. {origins(rows)}",
            f"Lines of CCS over blocks for {names(rows['series'])}.",
            figure,
        )
    ]


def _blocks(details: dict[str, Any]) -> list[Block]:
    return [
        (
            nan if block["ccs"] is None else block["ccs"],
            [
                pair
                for label, matrix in details["similarity"].items()
                if _of(label, block["name"])
                for i, row in enumerate(matrix)
                for pair in row[i + 1 :]
            ],
        )
        for block in details["blocks"]
    ]


def _of(label: str, block: str) -> bool:
    """Whether `block`, `block/drop`, and of a second call `block#2` or `block/drop#2`, is a map of this block."""
    return re.sub(r"#\d+$", "", label).split("/")[0] == block
