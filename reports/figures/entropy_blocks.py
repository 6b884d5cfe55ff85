"""Entropy by block: where in the depth heads look at few tokens, and where at all."""

from statistics import fmean
from typing import Any

import pandas as pd

from reports.attention import looked, origins, tag
from reports.figures.blocks import Block, by_block
from reports.figures.picture import Picture, names

_NAME, _TITLE = "entropy_blocks", "Entropy of attention by block"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A line a series, a dot a head."""
    rows = looked(frame, "entropy")
    if rows.empty:
        asked = "entropy" in set(frame["metric"])
        return [Picture(_NAME, _TITLE, "Not drawn: entropy was asked for, and no cell has it.")] if asked else []
    figure, axes = by_block(rows, _blocks)
    axes.set_ylabel("entropy of a row (bit)")
    return [
        Picture(
            _NAME,
            _TITLE,
            f"{tag(rows)}Lines: mean over heads, rows and images; dots: each head. 0 is attention to one token, "
            f"log₂ of the number of keys to all alike, so that fewer keys reach less high. {origins(rows)}",
            f"Lines of entropy over blocks for {names(rows['series'])}.",
            figure,
        )
    ]


def _blocks(details: dict[str, Any]) -> list[Block]:
    return [(fmean(block["entropy"]), block["entropy"]) for block in details["blocks"]]
