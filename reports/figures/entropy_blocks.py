"""Entropy by block: where in the depth heads look at few tokens, and where at all."""

from statistics import fmean
from typing import Any

import pandas as pd

from reports.figures.blocks import Block, by_block
from reports.figures.picture import Picture


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A line a series, a dot a head."""
    return by_block(
        frame,
        metric="entropy",
        title="Entropy of attention by block",
        label="entropy of a row (bit)",
        meaning="Lines: mean over heads, rows and images; dots: each head. 0 is attention to one token, log₂ of the "
        "number of keys to all alike, so that fewer keys reach less high.",
        blocks=_blocks,
    )


def _blocks(details: dict[str, Any]) -> list[Block]:
    return [(fmean(block["entropy"]), block["entropy"]) for block in details["blocks"]]
