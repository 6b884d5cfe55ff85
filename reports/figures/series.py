"""Series: the lines of a picture. Which rows make one, and how it looks."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pandas as pd

from reports.frame import series
from reports.style import all_looks

_OTHER = {"batch": "size", "size": "batch", "mask_ratio": "batch"}


def with_looks(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the column `look`: colour and marker of each model and its variants, the same in all pictures."""
    variants = series(frame, *_OTHER)
    timed = variants[frame["metric"] == "throughput"]  # in most pictures: the plainest looks are theirs
    looks = dict(zip(dict.fromkeys([*timed, *variants]), cycle(all_looks()), strict=False))
    return frame.assign(look=variants.map(looks))


def with_series(points: pd.DataFrame, x: str) -> pd.DataFrame:
    """`points` with the column `series`: what tells them apart beside the axis `x`."""
    return points.assign(series=series(points, x))


def ladders(points: pd.DataFrame, x: str) -> pd.DataFrame:
    """Series of more than one `x`; of a variant's sizes (batches, where `x` is the size) only that with most of them.

    A picture of the product of both would show nothing: all are in the CSV, and `one_of` says so.
    """
    points = with_series(points, x)
    points = points.assign(steps=points.groupby("series")[x].transform("nunique"), variant=series(points, *_OTHER))
    points = points[points["steps"] > 1]
    longest = points.sort_values("steps", ascending=False, kind="stable").groupby("variant")[_OTHER[x]].first()
    return with_series(points[points[_OTHER[x]] == points["variant"].map(longest)], x)


def one_of(rows: pd.DataFrame, x: str) -> str:
    """A sentence on what `ladders` chose from `rows`, where it had to."""
    other = _OTHER[x]
    return f" One {other} of each model, all in [values.csv](values.csv)." if rows[other].nunique() > 1 else ""


def lines(points: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Name, rows and look of each series. Where a variant has several (its sizes, say), all but the first get looks
    that are free in this picture."""
    own, used = list(points["look"]), list[dict[str, Any]]()
    for name, rows in points.groupby("series", sort=False):
        look = rows["look"].iloc[0]
        if look in used:
            look = next((free for free in all_looks() if free not in own and free not in used), look)
        used.append(look)
        yield str(name), rows, look
