"""Hallucination by block: where in the depth half of the heads is explained by the other half."""

from math import nan
from typing import Any

import pandas as pd

from reports.figures.blocks import Block, by_block
from reports.figures.picture import Picture


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A line a series, a dot a choice of halves; a block without a value breaks the line."""
    return by_block(
        frame,
        metric="hallucination",
        title="Heads explained by the other heads, by block",
        label="share of variance explained",
        meaning="How much of half of the heads' logits IHH and CHH (arXiv:2306.10875) of the other half explain, "
        "fitted to a model that was trained without them, on images that the fit has not seen where there are several. "
        "Lines: median over choices of halves; dots: each choice. 1 is all, 0 no more than a constant a row, which "
        "softmax ignores; worse than 0 is not drawn. A gap is a block that cannot be fitted (one head, a mask). Not "
        "what training with hallucination reaches.",
        blocks=_blocks,
        top=1.02,
    )


def _blocks(details: dict[str, Any]) -> list[Block]:
    return [
        (nan, []) if block["why"] else (block["median"]["ihh_chh"], block["choices"]) for block in details["blocks"]
    ]
