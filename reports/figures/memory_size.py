"""Memory against resolution: whether attention's square of the number of tokens is there, or was avoided."""

import pandas as pd

from reports.figures.memory import asked, curves, table
from reports.figures.picture import Picture, log_x, names
from reports.frame import pixels

_NAME, _TITLE = "memory_size", "Memory against resolution"
_BEND_FROM = 4  # sizes; through three every parabola goes


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A series each for inference and training, and for each batch."""
    if not asked(frame, "size"):
        return []
    drawn = curves(frame, "size", frame["size"].map(pixels), _BEND_FROM)
    if drawn is None:
        return [Picture(_NAME, _TITLE, "Not drawn: no memory was measured at more than one size.")]
    sizes = drawn.points.drop_duplicates("position").sort_values("position")
    log_x(drawn.axes, dict(zip(sizes["position"], sizes["size"], strict=True)))
    drawn.axes.set_xlabel("image size (pixels a side), on a scale of its pixels")
    return [
        Picture(
            _NAME,
            _TITLE,
            f"{drawn.caption} Lines, by least squares: memory = a + b · pixels, and + c · "
            f"pixels² where there are {_BEND_FROM} sizes or more; drawn over the sizes measured, "
            f"{sizes['size'].iloc[0]} to {sizes['size'].iloc[-1]}, and no forecast beyond.",
            f"Lines of memory over image size for {names(drawn.points['model'])}.",
            drawn.figure,
            table(drawn.fits, {"a (MiB)": 1, "b (MiB a megapixel)": 1e6, "c (MiB a megapixel²)": 1e12}),
        )
    ]
