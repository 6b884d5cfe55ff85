"""EsViT's table 1: backbones of self-supervised methods, their size, speed and published accuracy."""

from reports.papers.esvit.backbones import accuracy, pair, share_pair
from reports.papers.evidence import Evidence, published
from reports.papers.exhibit import NONE, Exhibit, Pair, Table, table
from reports.papers.quoted import derived
from reports.roster import DINO, PRINTED_1, TABLE_1

_TEXT = """
Compare quotients, not images a second: the paper says neither what hardware its throughputs are of nor at which batch.
Its Swins have those of Swin's paper times 1007 / 940.4, the quotient of two papers' numbers of DeiT-S, cut off to whole
numbers (last table): very probably converted and not measured. iBOT prints another throughput of Swin-T than EsViT
does. `~` is the paper's mark of an estimate, and ours of a quotient of one. Accuracies are as published; nothing was
trained here. MoCo-v3's ViT-B/7 and ViT-L/7 have batch norm in place of layer norm; timm's ViTs with layer norm stand
for them.
"""

# What the text says of one row against another: the claim, and of what. That of SimCLR-v2 names no model of EsViT's.
_SAID = (
    ("esvit-070", "parameters of MoCo-v3's ViT-L/7 for one of Swin-B/W=14"),
    ("esvit-071", "throughput of Swin-B/W=14, MoCo-v3's ViT-L/7 being 1; at least"),
    ("esvit-072", "throughput of Swin-B/W=7, DINO's ViT-B/8 being 1"),
    ("esvit-073", "parameters of SimCLR-v2's RN152w3+SK for one of EsViT's"),
    ("esvit-074", "throughput of EsViT's, SimCLR-v2's RN152w3+SK being 1"),
)

# The throughput of one backbone in four papers, by claim: here, in DINO's, in Swin's, in iBOT's.
_ELSEWHERE = (
    ("DeiT-S/8", "esvit-014", "esvit-260", "", ""),
    ("DeiT-S/16", "esvit-041", "esvit-258", "esvit-266", ""),
    ("ViT-B/8", "esvit-018", "esvit-264", "", ""),
    ("ViT-B/16", "esvit-045", "esvit-262", "esvit-267", ""),
    ("ResNet-50", "esvit-097", "esvit-257", "", ""),
    ("Swin-T/W=7", "esvit-058", "", "esvit-268", "hb-079"),
    ("Swin-T/W=14", "", "", "", "hb-085"),
    ("Swin-S/W=7", "esvit-062", "", "esvit-269", ""),
    ("Swin-B/W=7", "esvit-066", "", "esvit-270", ""),
)
_CONVERSION = ("esvit-041", "esvit-266")  # one model's numbers in EsViT's paper, from DINO's, and in Swin's


def table_1(evidence: Evidence) -> Exhibit:
    """Parameters, throughput and accuracies, a row a row of the paper's; what the text says; other papers' numbers."""
    rows: list[dict[str, str | Pair]] = [
        {
            "model": one.printed,
            "here": one.here,
            "params (M)": pair(evidence, TABLE_1, one, "params"),
            "throughput (img/s)": pair(evidence, TABLE_1, one, "throughput"),
            "throughput, DINO's ViT-B/8 being 1": share_pair(evidence, TABLE_1, one, DINO),
            "linear (%)": accuracy(evidence, TABLE_1, one.printed, "linear"),
            "k-NN (%)": accuracy(evidence, TABLE_1, one.printed, "kNN"),
        }
        for one in PRINTED_1
    ]
    return Exhibit(
        "esvit-table-1",
        "Self-supervised backbones: size, throughput and accuracy",
        "EsViT, table 1",
        _TEXT.strip(),
        (table(rows, "Table 1"), _said(evidence), _elsewhere(evidence)),
    )


def _said(evidence: Evidence) -> Table:
    rows: list[dict[str, str | Pair]] = [
        {"what": what, "source": evidence.by_id[id].claim.source, "times": evidence.pair(evidence.by_id[id])}
        for id, what in _SAID
    ]
    return table(rows, "What the text says of it")


def _elsewhere(evidence: Evidence) -> Table:
    conversion = [evidence.by_id[id] for id in _CONVERSION]
    theirs, swins = (row.claim.value for row in conversion)

    def printed(id: str) -> str:
        return published(evidence.by_id[id]) if id else NONE

    def converted(id: str) -> str:
        row = evidence.by_id.get(id)
        return derived(row.claim.value * theirs / swins, 4, row, *conversion) if row else NONE

    return table(
        [
            {
                "backbone": name,
                "EsViT's tables": printed(own),
                "DINO's table 1 (V100, batch 128)": printed(dino),
                "Swin's table 1a (V100)": printed(swin),
                f"Swin's times {theirs:g} / {swins:g}": converted(swin),
                "iBOT's quotation of EsViT": printed(ibot),
            }
            for name, own, dino, swin, ibot in _ELSEWHERE
        ],
        "The same throughputs (img/s) in other papers",
    )
