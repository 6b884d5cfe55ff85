"""hMHSA's table 1: what hallucinated attention and compact FFNs save of four models."""

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, table
from reports.papers.hmhsa.models import COUNT, MODELS, Changed, term
from reports.papers.quoted import quoted
from reports.papers.units import GIGA, MEGA, PERCENT

_LEAST, _MOST = "hm-05", "hm-06"
_CITED = {"params": ("params", MEGA), "flops": (COUNT, GIGA)}  # as claims call them
_UNSAID = "in no text that was found"  # of a base, whose paper is not this one

_TEXT = """
Of the paper's table only the savings of PVTv2-b1 and Next-ViT-S and two gains of accuracy were found in a text.
Numbers of bases are those that their own authors print. No code was ever released: the models here are one reading of
the paper's text, chosen since its savings come nearest to the printed ones. They are of the deployed form, in which
parallel branches are merged; the form that is trained is larger than its base. MACs are fvcore's, norms included, or
where the ledger has another reading that fits, of products alone. The abstract says that 10 to 20 % of parameters and
MACs are saved of every model: at least 10 %: {}; at most 20 %: {}. Accuracies are as published; nothing was trained
here.
"""


def reductions(evidence: Evidence) -> Exhibit:
    """Parameters and MACs of each base and of what the paper makes of it, and the savings."""
    rows = [row for one in MODELS for row in (_base(evidence, one), _ours(evidence, one))]
    verdicts = (evidence.by_id[id].verdict for id in (_LEAST, _MOST))
    return Exhibit(
        "hmhsa-reductions",
        "Savings of parameters and MACs",
        "hMHSA and cFFN, table 1",
        _TEXT.strip().format(*verdicts),
        (table(rows, "ImageNet-1K, 224 px"),),
    )


def _base(evidence: Evidence, one: Changed) -> dict[str, str | Pair]:
    counts = {
        claimed: evidence.pair(
            evidence.claim(one.printed, claimed, work=one.work),
            evidence.measure("value", term(one.base, metric)),
            scale,
            unsaid=_UNSAID,
        )
        for claimed, (metric, scale) in _CITED.items()
    }
    return {
        "model": one.printed,
        "parameters (M)": counts["params"],
        "saved of parameters (%)": "",
        "MACs (G)": counts["flops"],
        "saved of MACs (%)": "",
        "top-1 (%)": quoted(evidence.claim(one.printed, "top1", work=one.work), _UNSAID),
        "gain of top-1 (points)": "",
    }


def _ours(evidence: Evidence, one: Changed) -> dict[str, str | Pair]:
    def counted(metric: str, scale: float) -> Pair:
        return evidence.pair(None, evidence.measure("value", term(one.ours, metric)), scale)

    def saved(claimed: str, metric: str) -> Pair:
        found = evidence.measure("saving", term(one.ours, metric), term(one.base, metric))
        return evidence.pair(evidence.claim(one.compacted, claimed), found, PERCENT)

    return {
        "model": f"{one.printed} with hMHSA, cFFN",
        "parameters (M)": counted("params", MEGA),
        "saved of parameters (%)": saved("params_reduction", "params"),
        "MACs (G)": counted(COUNT, GIGA),
        "saved of MACs (%)": saved("flops_reduction", COUNT),
        "top-1 (%)": quoted(None),
        "gain of top-1 (points)": quoted(evidence.claim(one.compacted, "top1_delta")),
    }
