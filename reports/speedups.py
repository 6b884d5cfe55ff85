"""What a paper prints of its pre-training step beside what was measured here of the same, each in the paper's terms."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from reports.baselines import untagged
from reports.claims import published_steps
from reports.format import number
from reports.frame import series
from reports.reductions import quotient
from reports.tables import MEMORY

Row = dict[Any, Any]  # of `reductions.changes`: column -> value


class Terms(NamedTuple):
    """metrics: those of ours that may stand beside a claim, the best first; said: our quotient as the claim says it."""

    metrics: tuple[str, ...]
    said: Callable[[float], float]


TERMS: Mapping[str, Terms] = {
    "train speed-up vs SimMIM-style dense encoding": Terms(("throughput",), lambda share: share),
    "training time relative to SimMIM": Terms(("throughput",), lambda share: 1 / share),
    "GPU memory saving": Terms(MEMORY, lambda share: 100 * (1 - share)),
    "GPU memory relative to SimMIM": Terms(MEMORY, lambda share: share),
}
_UNITS = {"x": "x", "%": " %", "ratio": ""}


def table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A row a claim and model of `frame` that it speaks of, as words; rows: `reductions.changes`.

    Of ours stand there: mode pretrain at 224 px, without arguments, at the largest batch; against every base.
    """
    alike = rows[(rows["mode"] == "pretrain") & (rows["size"] == "224") & (rows["arguments"] == "")]
    alike = alike.assign(series=series(alike, "batch"))
    words = []
    for claim in published_steps(TERMS).to_dict("records"):
        for model in dict.fromkeys(map(untagged, frame["model"])):
            if model in claim["names"]:
                own = _largest(alike[alike["model"].map(untagged) == model], TERMS[claim["metric"]].metrics)
                for name, found in list(own.groupby("series", sort=False)) or [(model, own)]:
                    words.append({"model": name, **_row(claim, found)})
    return pd.DataFrame(words)


def _largest(rows: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """The rows of the first of `metrics` that has any, at the largest batch of each series."""
    found = next((own for metric in metrics if not (own := rows[rows["metric"] == metric]).empty), rows.iloc[:0])
    return found[found["batch"] == found.groupby("series")["batch"].transform("max")]


def _row(claim: Row, found: pd.DataFrame) -> Row:
    unit = _UNITS[claim["unit"]]
    return {
        "of": claim["metric"],
        "published": f"{claim['value']}{unit}",
        "measured": "; ".join(_word(row, claim["metric"], unit) for row in found.to_dict("records")) or "-",
        "batch": ", ".join(map(str, found["batch"].unique())) or "-",
        "conditions": claim["conditions"],
        "source": f"{claim['source']} of {claim['paper']}",
        "read in": claim["provenance"],
        "confidence": claim["confidence"],
        "id": claim["id"],
    }


def _word(row: Row, metric: str, unit: str) -> str:
    """`1.75x (1.60 to 1.90) of simmim_swin_tiny 192 px`, in the terms of a claim's `metric`."""
    share, *bounds = (TERMS[metric].said(one) for one in quotient(row))
    interval = "" if pd.isna(bounds).any() else " ({} to {})".format(*(number(one, 3) for one in sorted(bounds)))
    predicted = ", predicted" if row["metric"] == "peak_live_bytes" else ""
    return f"{number(share, 3)}{unit}{interval} of {row['against']}{predicted}"
