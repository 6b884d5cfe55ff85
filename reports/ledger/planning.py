"""What to measure for the ledger: Specs and their metrics, for the command line to make cells of."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from bench.spec import Spec
from reports.ledger.check import COUNTS, MEASURED, PREDICTED, Check, Reading, Sorted, Term
from reports.ledger.claim import Claim
from reports.ledger.judging import NOT_MEASURED, Row

TRACED = ("macs_fvcore", "activations")  # on real tensors, ten seconds to a minute each
_QUICK = {*COUNTS} - {*TRACED}
_BATCH = {"cuda": 64, "cpu": 2}  # images of a timed call, where a claim doesn't say, and on a CPU in any case

Wanted = list[tuple[Spec, tuple[str, ...]]]


def wanted(sorted_claims: Iterable[tuple[Claim, Sorted]], papers: Collection[str], device: str, machine: str) -> Wanted:
    """What the claims of `papers` need, on a device whose name is `machine`, costly readings left out.

    A cell is asked for the same metrics whatever papers are named, so that it is found again: counts, memory and times
    in cells of their own.
    """
    asked: dict[tuple[Spec, str], dict[str, None]] = {}
    needed: dict[tuple[Spec, str], None] = {}
    for claim, check in sorted_claims:
        if not isinstance(check, Check):
            continue
        for reading in check.readings:
            for spec, metric in () if reading.costly else _cells(reading, check, device, machine):
                key = (spec, _kind(metric))
                asked.setdefault(key, {})[metric] = None
                if claim.paper in papers:
                    needed[key] = None
    return [(key[0], tuple(asked[key])) for key in needed]


def costly(rows: Sequence[Row], sorted_claims: Iterable[tuple[Claim, Sorted]], device: str) -> Wanted:
    """The costly readings that the verdict of one of `rows` waits for."""
    waiting = {row.claim.id for row in rows if row.verdict == NOT_MEASURED}
    specs = {
        (replace(term.spec, device=device), term.metric): None
        for claim, check in sorted_claims
        if claim.id in waiting and isinstance(check, Check)
        for reading in check.readings
        if reading.costly
        for term in reading.terms
    }
    return [(spec, (metric,)) for spec, metric in specs]


def quick(cells: Wanted) -> Wanted:
    """Those that are counted without running a model: all of them together take less than a minute."""
    return [(spec, metrics) for spec, metrics in cells if {*metrics} <= _QUICK]


def clockless(cells: Wanted) -> Wanted:
    """Those and predicted memory, which takes some seconds each: what is the same on a busy machine."""
    return [(spec, metrics) for spec, metrics in cells if {*metrics} <= {*_QUICK, PREDICTED}]


def _kind(metric: str) -> str:
    return metric if metric in (*TRACED, PREDICTED, MEASURED) else "count" if metric in COUNTS else "time"


def _cells(reading: Reading, check: Check, device: str, machine: str) -> Iterable[tuple[Spec, str]]:
    kind = device.partition(":")[0]
    if check.hardware is not None:
        if check.hardware and check.hardware in machine:
            yield from ((replace(term.spec, device=device), term.metric) for term in reading.terms)
        return
    for term in reading.terms:
        spec = replace(term.spec, device=device)
        if term.metric in COUNTS:
            yield spec, term.metric
        elif term.metric == PREDICTED:
            spec = replace(spec, batch=term.batch or 1, precision=_precision(check))
            yield spec, PREDICTED
            if kind == "cuda":
                yield spec, MEASURED
        else:
            yield _timed(spec, term, check, kind), term.metric


def _timed(spec: Spec, term: Term, check: Check, kind: str) -> Spec:
    if kind != "cuda":  # no verdict comes of it
        return replace(spec, batch=_BATCH["cpu"])
    return replace(spec, batch=term.batch or _BATCH["cuda"], precision=_precision(check))


def _precision(check: Check) -> str:
    return "amp_float16" if check.half else "float32"
