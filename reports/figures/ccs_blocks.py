"""CCS by block: where in the depth heads attend alike."""

import re
from math import nan
from typing import Any

import pandas as pd

from reports.figures.blocks import Block, by_block
from reports.figures.picture import Picture


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A line a series; a block with one head has no pairs and breaks it."""
    return by_block(
        frame,
        metric="ccs",
        title="Similarity of heads by block (CCS)",
        label="mean cosine of two heads' maps (CCS)",
        meaning="Lines: mean over head pairs i < j, rows and images; dots: each pair, of one image. A gap is a block "
        "with one head.",
        blocks=_blocks,
        top=1.02,
    )


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
