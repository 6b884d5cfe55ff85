"""EsViT's table 4: multi-stage architectures pre-trained alike."""

from dataclasses import replace

from reports.papers.esvit.backbones import accuracy, measured, pair, share_pair
from reports.papers.evidence import Evidence, published
from reports.papers.exhibit import Exhibit, Pair, table
from reports.papers.units import GIGA
from reports.roster import DEIT, PRINTED_4, TABLE_4, Entry

_TEXT = """
L_V is the view loss, L_R the region loss; the table has DeiT-S with the view loss alone. Accuracies are as published.
For ResNet-50 with L_V it also quotes DINO's own {linear} % linear and {knn} % k-NN. MACs are of one image at 224 px;
the table has none. Regions are the tokens of the top layer without the class token, which section 2.2 gives for both
kinds of Transformers. As to throughputs, what is said of table 1 holds here too. PvT is not in the official code.
"""
_REGIONS = {"DeiT (DeiT-S/16)": "esvit-077", "ResNet-50": ""}  # other rows are of what the next claim says
_MULTI_STAGE = "esvit-078"
_JUDGED = ("DeiT (DeiT-S/16)", "Swin 2-2-6-2")  # the models that the ledger tests these claims with
_DINOS = "ResNet-50, L_V (as reported by DINO)"
_ACCURACIES = {"linear": "linear", "k-NN": "kNN"}  # our word for the claims'


def architectures(evidence: Evidence) -> Exhibit:
    """Costs and accuracies, a row a row of the paper's."""
    rows: list[dict[str, str | Pair]] = [
        {
            "architecture": one.printed,
            "here": one.here,
            "params (M)": pair(evidence, TABLE_4, one, "params"),
            "MACs (G)": evidence.pair(None, measured(evidence, "value", "macs", one), GIGA),
            "regions": _regions(evidence, one),
            "throughput (img/s)": pair(evidence, TABLE_4, one, "throughput"),
            "throughput, DeiT-S being 1": share_pair(evidence, TABLE_4, one, DEIT),
            **{
                f"{ours}, {losses} (%)": accuracy(evidence, TABLE_4, f"{one.printed}, {losses}", theirs)
                for losses in ("L_V", "L_V+L_R")
                for ours, theirs in _ACCURACIES.items()
            },
        }
        for one in PRINTED_4
    ]
    linear, knn = (accuracy(evidence, TABLE_4, _DINOS, theirs).published for theirs in _ACCURACIES.values())
    return Exhibit(
        "esvit-architectures",
        "Architectures pre-trained alike",
        "EsViT, table 4",
        _TEXT.strip().format(linear=linear, knn=knn),
        (table(rows),),
    )


def _regions(evidence: Evidence, one: Entry) -> Pair:
    """Whole numbers, without decimals; the ledger's verdict stands with the model that it is of."""
    row = evidence.by_id.get(_REGIONS.get(one.printed, _MULTI_STAGE))
    found = measured(evidence, "value", "top_tokens", one)
    if one.printed in _JUDGED:
        return evidence.pair(row, found, digits=1)
    own = evidence.pair(None, found, unsaid="section 2.2 speaks of Transformers alone", digits=1)
    return replace(own, published=published(row) if row else "")
