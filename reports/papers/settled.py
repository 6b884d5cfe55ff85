"""One setting: numbers that stand in one column and are to compare are of one device, precision, batch and machine."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from bench.spec import Spec
from reports.frame import measured
from reports.ledger.check import PREDICTED, Term
from reports.ledger.judging import Finding
from reports.papers.evidence import Evidence

_SETTING = ["metric", "device", "precision", "batch", "compile", "attention", "layout"]
_PLACE = ["environment", "preset"]  # which predicted memory doesn't depend on
_ELSEWHERE = "recorded, but not in the setting of the others"


def settled(evidence: Evidence, metrics: Sequence[str], specs: Sequence[Spec]) -> Evidence:
    """The numbers of one of `metrics` in one setting, so that they compare: where most of `specs` have one.

    Of several a GPU's goes before a CPU's, then the larger batch, the earlier of `metrics`, the later in time.
    """
    rows = pd.concat([measured(evidence.frame, metric) for metric in metrics])
    settings = [
        Evidence(own, evidence.rows)
        for metric, same in rows.groupby("metric")
        for _, own in same.groupby(_SETTING if metric == PREDICTED else [*_SETTING, *_PLACE])
    ]

    def rank(one: Evidence) -> tuple[int, bool, int, int, pd.Timestamp]:
        first = one.frame.iloc[0]
        found = [one.measure("value", Term(spec, first["metric"])) for spec in specs]
        count = sum(each.interval is not None for each in found)
        on_gpu = first["device"].startswith("cuda")
        return count, on_gpu, first["batch"], -metrics.index(first["metric"]), one.frame["when"].max()

    return max(settings, key=rank, default=Evidence(rows.iloc[:0], evidence.rows))


def found(evidence: Evidence, within: Evidence, formula: str, *terms: Term) -> Finding:
    """A number from `within`, the setting of its column, or why it has none; of all evidence where it was recorded."""
    own = within.measure(formula, *terms)
    if own.interval is not None:
        return own
    anywhere = evidence.measure(formula, *terms)
    return anywhere if anywhere.interval is None else replace(own, missing=_ELSEWHERE)
