"""Throughputs that SG-Former's paper only draws, measured by third parties: the authors of RMT and InceptionNeXt."""

from decimal import Decimal

from bench.spec import Spec
from reports.ledger.check import Term
from reports.ledger.judging import AMBIGUOUS, DIFFERS, REPRODUCED, Row
from reports.ledger.models import BUILDS
from reports.papers.evidence import Evidence
from reports.papers.exhibit import NONE, Pair, Table, table
from reports.papers.quoted import quoted
from reports.papers.sgformer.peers import points
from reports.papers.sgformer.variants import VARIANTS

RMT, INCEPTION = ("RMT", "Table 11"), ("InceptionNeXt", "context: Table 4")  # how their works and sources begin
SIMILAR = Decimal("0.3")  # points of top-1
_GPUS = ("RTX 2080 Ti", "A100")
_COMPARED = (REPRODUCED, DIFFERS, AMBIGUOUS)


def speeds(evidence: Evidence, work: str, source: str) -> list[Row]:
    """The claims of throughput at 224 px of a third party's table, in its order."""
    claims = ((row, row.claim) for row in evidence.rows)
    return [
        row
        for row, claim in claims
        if claim.work.startswith(work)
        and claim.source.startswith(source)
        and claim.metric == "throughput"
        and "224" in claim.conditions
    ]


def by_rmt(evidence: Evidence) -> Table:
    """All models that RMT's authors timed, with what was measured here of those that timm has."""
    rows: list[dict[str, str | Pair]] = []
    for row in speeds(evidence, *RMT):
        printed = row.claim.printed
        build = BUILDS.get((printed, 224))
        own = None
        if build:
            spec = Spec(build.model, size=(build.size, build.size), model_args=tuple(build.arguments.items()))
            own = evidence.measure("value", Term(spec, "throughput"))
        top1 = quoted(evidence.claim(printed, "top1", RMT[1], RMT[0]))
        rows.append({"model": printed, "top-1 (%)": top1, "throughput (img/s)": evidence.pair(row, own)})
    return table(rows, "RMT's table 11, on hardware that it does not name")


def rank(evidence: Evidence) -> Table:
    """By RMT's authors: which models of an accuracy like that of a variant are faster, and which slower."""
    every = speeds(evidence, *RMT)
    top1 = {
        row.claim.printed: points(one)
        for row in every
        for one in [evidence.claim(row.claim.printed, "top1", RMT[1], RMT[0])]
        if one
    }
    rows: list[dict[str, str | Pair]] = []
    for own in (row for row in every if row.claim.printed in {one.printed for one in VARIANTS}):
        name, speed = own.claim.printed, own.claim.value
        alike = [row.claim for row in every if row is not own and abs(top1[row.claim.printed] - top1[name]) <= SIMILAR]
        faster = ", ".join(one.printed for one in alike if one.value > speed)
        slower = ", ".join(one.printed for one in alike if one.value <= speed)
        rows.append({"model": name, "faster": faster or NONE, "not faster": slower or NONE})
    return table(rows, f"RMT's table 11: models whose top-1 is within {SIMILAR} points")


def by_inception(evidence: Evidence) -> Table:
    """Peers on the paper's GPU, and on another, by InceptionNeXt's authors."""
    found: dict[str, dict[str, Row]] = {}
    for row in speeds(evidence, *INCEPTION):
        gpu = next(gpu for gpu in _GPUS if row.claim.conditions.startswith(gpu))
        found.setdefault(row.claim.printed, {})[gpu] = row
    rows: list[dict[str, str | Pair]] = [
        {
            "model": printed,
            "top-1 (%)": quoted(evidence.claim(printed, "top1", INCEPTION[1], INCEPTION[0])),
            **{f"{gpu} (img/s)": _there(evidence, own.get(gpu)) for gpu in _GPUS},
        }
        for printed, own in found.items()
    ]
    return table(rows, "InceptionNeXt's table 4, 224 px, of which the RTX 2080 Ti is SG-Former's GPU")


def _there(evidence: Evidence, row: Row | None) -> Pair:
    """A speed on a GPU that is named, beside one of ours only if that was measured on such a GPU."""
    return evidence.pair(row) if row and row.verdict in _COMPARED else quoted(row)
