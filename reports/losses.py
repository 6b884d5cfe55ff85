"""What EsViT's region loss adds to a step with the view loss alone: quotients of memory and time, over the batch."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports.baselines import BASES, STAGES, VIEW_LOSS, untagged
from reports.claims import published_steps
from reports.format import factor, name
from reports.frame import series
from reports.reductions import quotient
from reports.speedups import said
from reports.tables import MEMORY

# Of a quantity: the metrics that measure it, the best first, and the claims on it.
_OF = {
    "memory": (MEMORY, ("memory_ratio_LV+LR_over_LV", "memory_growth_LV+LR_over_LV")),
    "time": (("throughput", "latency"), ("time_ratio_LV+LR_over_LV", "time_growth_LV+LR_over_LV")),
}

Row = dict[Any, Any]  # of `reductions.changes`: column -> value


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a series and quantity, a column a batch: the step with both losses as a multiple of that with the view
    loss alone, as words. rows: `reductions.changes`.

    Time is the quotient of throughputs, of latencies where there are none. Published: what the paper says of a step
    of that model, whatever the batch, with the claim's confidence.
    """
    kinds = [BASES[untagged(model)][base].kind for model, base in rows[["model", "base"]].to_numpy()]
    rows = rows[pd.Series(kinds, index=rows.index, dtype=str) == VIEW_LOSS]
    rows = rows.assign(series=series(rows, "batch"))
    batches = sorted(rows["batch"].unique())
    return pd.DataFrame(
        [
            {"model": label, "stages": STAGES[model], **row}
            for label, own in rows.groupby("series", sort=False)
            for model in [untagged(own["model"].iloc[0])]
            for of in _OF
            for row in _rows(model, of, own, batches)
        ]
    )


def _rows(model: str, of: str, own: pd.DataFrame, batches: Sequence[int]) -> list[Row]:
    """The line of a quantity, of the first of its metrics that was measured; none where none was."""
    metrics, claims = _OF[of]
    metric = next((metric for metric in metrics if metric in set(own["metric"])), None)
    if metric is None:
        return []
    found = {row["batch"]: _word(row) for row in own[own["metric"] == metric].to_dict("records")}
    words = [
        f"{said(claim)}, {claim['confidence']}"
        for claim in published_steps(claims).to_dict("records")
        if model in claim["names"]
    ]
    return [
        {
            "of": name(metric) if of == "memory" else of,
            **{f"batch {batch}": found.get(batch, "-") for batch in batches},
            "published": "; ".join(words) or "-",
        }
    ]


def _word(row: Row) -> str:
    share, low, high = quotient(row)
    return factor(1 / share, 1 / high, 1 / low) if row["metric"] == "throughput" else factor(share, low, high)
