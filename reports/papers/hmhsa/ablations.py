"""hMHSA's tables 2, 3 and 5 to 7: what each choice costs. Their accuracies are known in part, their costs are not."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.spec import JsonScalar, Spec
from reports.ledger.check import PREDICTED, Term
from reports.papers.evidence import Evidence, published
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.hmhsa.models import term
from reports.papers.units import GIGA, MEGA, MIB, PERCENT


class Choice(NamedTuple):
    """What is chosen, and the model's arguments for it. difference: the claim of what becomes of accuracy, and against
    what; accuracy: the claim of the accuracy itself."""

    what: str
    arguments: Mapping[str, JsonScalar] = {}
    difference: str = ""
    against: str = ""
    accuracy: str = ""


_BASE, _MODEL = "pvt_v2_b1", "hmhsa_pvt_v2_b1"
_PAPERS: Mapping[str, JsonScalar] = {"impl": "reference"}  # counts are of the route as the paper describes it
TABLES: Mapping[str, Sequence[Choice]] = {
    "Tables 2 and 3: where half of the attention maps come from": (
        Choice("computed as the other half is (cFFN alone)", {"hallucinate": False}),
        Choice("copied from the other half", {"hallucinate": "copy"}, "hm-11", "against hallucinated ones"),
        Choice("IHH: a filter in each map", {"hallucinate": "ihh"}),
        Choice("CHH: a mix of maps", {"hallucinate": "chh"}),
        Choice("CHH, then IHH", {"hallucinate": "chh+ihh"}),
        Choice("IHH, then CHH (the paper's)"),
    ),
    "Table 5: how the FFN is made smaller": (
        Choice("not at all (hMHSA alone)", {"compact": False}),
        Choice(
            "fewer hidden channels, as many MACs as cFFN", {"compact": "narrow"}, "hm-12", "against what is not stated"
        ),
        Choice("cFFN (the paper's)", {}, "hm-14", "against fewer hidden channels", "hm-13"),
    ),
    "Table 6: which of the FFN's layers is factorised": (
        Choice("the first", {"compact": "fc1"}),
        Choice("the second (the paper's)", {}, "hm-15", "against the first"),
    ),
    "Table 7: compact ratio": (
        Choice("2/3 (the paper's)"),
        Choice("3/4", {"ratio": 0.75}),
    ),
}
BRANCHED, UNBRANCHED, BRANCHES = "hmhsa_deit_tiny", "deit_tiny_patch16_224", (1, 2, 3)

_TEXT = """
But for one accuracy of table 5, what is known of these tables are differences of accuracy, some of them, each with
what it is against, where that is stated. All others, and every number of parameters and MACs, are in no text that was
found, so that nothing is published beside the costs. These are of PVTv2-b1, with one argument changed at a time, the
others as the paper chooses them; of the deployed form and the route that the paper describes. MACs are of products
alone. Branches are of training, where there are several in parallel; deployed they are one. The paper found 2 the
best; and at a compact ratio of 3/4 it calls the saving very limited.
"""


def ablations(evidence: Evidence) -> Exhibit:
    """The columns of cost, a table a table of the paper's, and what branches cost in training."""
    return Exhibit(
        "hmhsa-ablations",
        "What each choice costs",
        "hMHSA and cFFN, tables 2, 3, 5, 6, 7 and section 4.2.3",
        _TEXT.strip(),
        (*(_choices(evidence, title, choices) for title, choices in TABLES.items()), _branches(evidence)),
    )


def _choices(evidence: Evidence, title: str, choices: Sequence[Choice]) -> Table:
    rows: list[dict[str, str | Pair]] = []
    for one in choices:
        params, macs = (term(_MODEL, metric, arguments={**one.arguments, **_PAPERS}) for metric in ("params", "macs"))
        rows.append(
            {
                "choice": one.what,
                "parameters (M)": evidence.pair(None, evidence.measure("value", params), MEGA),
                "saved of parameters (%)": _saved(evidence, params, term(_BASE, "params")),
                "MACs (G)": evidence.pair(None, evidence.measure("value", macs), GIGA),
                "saved of MACs (%)": _saved(evidence, macs, term(_BASE, "macs")),
                "top-1": _said(evidence, one.accuracy),
                "difference of top-1": _said(evidence, one.difference, one.against),
            }
        )
    return table(rows, title)


def _said(evidence: Evidence, id: str, against: str = "") -> Pair:
    """A claim with its unit, what it is against, and its conditions; no two of them are of one kind."""
    if not id:
        return Pair()
    row = evidence.by_id[id]
    unit = row.claim.text.partition(" ")[2]
    return Pair(published=f"{' '.join(filter(None, (published(row), unit, against)))}; {row.claim.conditions}")


def _saved(evidence: Evidence, own: Term, base: Term) -> Pair:
    return evidence.pair(None, evidence.measure("saving", own, base), PERCENT)


def _branches(evidence: Evidence) -> Table:
    """DeiT-Ti in training, at batch 1, a row a number of branches."""
    plain = Spec(UNBRANCHED, mode="train")
    builds = [
        ("none: the base", plain),
        *(
            (str(count), Spec(BRANCHED, mode="train", model_args=(("branches", count),)))
            for count in BRANCHES
        ),
    ]  # fmt: skip
    columns = {"parameters (M)": ("params", MEGA), "MACs (G)": ("macs", GIGA), "peak memory (MiB)": (PREDICTED, MIB)}
    rows: list[dict[str, str | Pair]] = [
        {
            "branches": words,
            **{
                heading: evidence.pair(None, evidence.measure("value", Term(spec, metric, 1)), scale)
                for heading, (metric, scale) in columns.items()
            },
            "time of a step, the base's being 1": ""
            if spec == plain
            else evidence.pair(None, evidence.measure("ratio", Term(spec, "latency", 1), Term(plain, "latency", 1))),
        }
        for words, spec in builds
    ]
    return table(rows, "Branches: DeiT-Ti in training")
