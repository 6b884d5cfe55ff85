"""Memory against batch: a line, whose slope is what each image costs."""

import pandas as pd

from reports.figures.memory import asked, curves, table
from reports.figures.picture import Picture, log_x, names

_NAME, _TITLE = "memory_batch", "Memory against batch"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A series each for inference and training."""
    if not asked(frame, "batch"):
        return []
    drawn = curves(frame, "batch", frame["batch"])
    if drawn is None:
        return [Picture(_NAME, _TITLE, "Not drawn: no memory was measured at more than one batch.")]
    batches = sorted(drawn.points["batch"].unique())
    log_x(drawn.axes, {batch: str(batch) for batch in batches})
    drawn.axes.set_xlabel("batch (images)")
    return [
        Picture(
            _NAME,
            _TITLE,
            f"{drawn.caption} Lines: memory = a + b · batch by least squares, drawn over "
            f"the batches measured, {batches[0]} to {batches[-1]}, and no forecast beyond.",
            f"Lines of memory over batch for {names(drawn.points['model'])}.",
            drawn.figure,
            table(drawn.fits, {"a: without images (MiB)": 1, "b: each image (MiB)": 1}),
        )
    ]
