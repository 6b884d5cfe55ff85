"""Which of many to draw, where each gets a picture of its own."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from reports.attention import looked
from reports.figures.picture import names

_MODELS = 4
T = TypeVar("T")


def chosen(frame: pd.DataFrame, holds: Callable[[dict[str, Any]], Any]) -> tuple[pd.DataFrame, list[str]]:
    """Of the series whose CCS `holds` what is to be drawn up to 4, trained ones first, and the names of the others."""
    rows = looked(frame, "ccs")
    rows = rows[rows["details"].map(lambda details: bool(holds(details))).astype(bool)]
    return few(rows.sort_values("weights", key=lambda weights: weights == "random", kind="stable"))


def few(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The first 4 rows, and the series of the others."""
    return rows.iloc[:_MODELS], list(rows["series"].iloc[_MODELS:])


def left_out(others: Sequence[str], drawn: int = _MODELS) -> str:
    """A sentence about those that were not drawn, beside the `drawn`."""
    return f" Not drawn, since {drawn} are: {names(others)}." if others else ""


def spread(items: Sequence[T], most: int) -> list[T]:
    """`items`, or `most` of them from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, most)]
