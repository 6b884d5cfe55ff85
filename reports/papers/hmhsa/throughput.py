"""The throughput that hMHSA's paper leaves out: whether fewer MACs are less time."""

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, table
from reports.papers.hmhsa.models import COUNT, MODELS, term
from reports.papers.settled import found, settled

_TEXT = """
The paper prints no throughput, latency or memory. So nothing is published beside these numbers, each model on the
quickest route that this project has for its device; as the paper describes it, attention would store every map. Above
1 the change made the model faster. Throughput is of one setting of both, of the largest batch that both were measured
at, latency of one image. The two were measured one after the other, not in turn: the interval doesn't hold what the
machine drifted between.
"""


def throughput(evidence: Evidence) -> Exhibit:
    """Throughput of bases and of what the paper makes of them, and the quotients beside those of MACs."""
    rows: list[dict[str, str | Pair]] = []
    for one in MODELS:
        ours, base = (term(model, "throughput") for model in (one.ours, one.base))
        quick, plain = (term(model, "latency", batch=1) for model in (one.ours, one.base))
        both = settled(evidence, ["throughput"], [base.spec, ours.spec])
        macs = evidence.measure("ratio", term(one.base, COUNT), term(one.ours, COUNT))
        rows.append(
            {
                "model": one.printed,
                "base (img/s)": evidence.pair(None, found(evidence, both, "value", base)),
                "with hMHSA, cFFN (img/s)": evidence.pair(None, found(evidence, both, "value", ours)),
                "speed-up of throughput": evidence.pair(None, found(evidence, both, "ratio", ours, base)),
                "speed-up of latency": evidence.pair(None, evidence.measure("ratio", plain, quick)),
                "MACs, base / ours": evidence.pair(None, macs),
            }
        )
    return Exhibit(
        "hmhsa-throughput",
        "Throughput",
        "nothing of the paper's, which has no throughput",
        _TEXT.strip(),
        (table(rows, "224 px"),),
    )
