"""SG-Former's table 2: parameters, MACs and accuracy beside those of its peers."""

from decimal import Decimal

from reports.ledger.judging import Row
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.quoted import quoted

_OWN, _CITED, _CONTEXT = "Table 2", "Sec. 3.1 text", "context: MambaOut"
_PEERS = (  # printed model, source of its parameters and MACs
    ("DeiT-S", _CONTEXT),
    ("Swin-T", _CONTEXT),
    ("CSWin-T", _CONTEXT),
    ("SG-Former-S", _OWN),
    ("Swin-S", _CONTEXT),
    ("CSWin-S", _CONTEXT),
    ("SG-Former-M", _OWN),
    ("DeiT-B", _CITED),
    ("Swin-B", _CONTEXT),
    ("CSWin-B", _CONTEXT),
    ("SG-Former-B", _OWN),
)
# What the text says of an accuracy: the claim's metric, and the peer, whose size it names of DeiT-B alone. Of the
# others this is the one whose printed MACs are nearest.
GAINS = (
    ("SG-Former-S", "top1_gain_vs_DeiT-B", "DeiT-B"),
    ("SG-Former-S", "top1_gain_vs_EfficientNet", "EfficientNet-B4"),
    ("SG-Former-S", "top1_gain_vs_CSWin", "CSWin-T"),
    ("SG-Former-M", "top1_gain_vs_EfficientNet", "EfficientNet-B5"),
    ("SG-Former-M", "top1_gain_vs_CSWin", "CSWin-S"),
    ("SG-Former-B", "top1_gain_vs_EfficientNet", "EfficientNet-B6"),
    ("SG-Former-B", "top1_gain_vs_CSWin", "CSWin-B"),
    ("SG-Former-B", "top1_gain_vs_Swin", "Swin-B"),
)
_PEER = "peer, of the nearest size (the text names none)"

_TEXT = """
The rows are those of which a text was found, small models first: MambaOut's table quotes SG-Former beside these
peers, DeiT-B is in SG-Former's own text. Which others stood in the table, and in which order, is in no text. Peers
are timm's where it has them. Accuracies are as published; nothing was trained here. Of the gains in the second table
the text names the peer's size only where that is DeiT-B; elsewhere the peer is our choice, the one of its family that
is nearest in printed MACs, so that a difference that isn't the printed gain may only mean that another was meant.
"""


def peers(evidence: Evidence) -> Exhibit:
    """Parameters, MACs and top-1, a row a model; and what the text says of accuracies, beside their differences."""
    rows: list[dict[str, str | Pair]] = [
        {
            "model": printed,
            "parameters (M)": evidence.pair(params),
            "MACs (G)": evidence.pair(evidence.claim(printed, "macs", source, "SG-Former")),
            "top-1 (%)": quoted(evidence.claim(printed, "top1", work="SG-Former")),
            "parameters and MACs read in": params.claim.provenance if params else "",
        }
        for printed, source in _PEERS
        for params in [evidence.claim(printed, "params", source, "SG-Former")]
    ]
    return Exhibit(
        "sgformer-peers",
        "Parameters, MACs and accuracy beside peers",
        "SG-Former, table 2",
        _TEXT.strip(),
        (table(rows, "ImageNet-1K, 224 px"), _gains(evidence)),
    )


def _gains(evidence: Evidence) -> Table:
    rows: list[dict[str, str | Pair]] = []
    for printed, metric, peer in GAINS:
        gain = evidence.claim(printed, metric, work="SG-Former")
        own, other = evidence.claim(printed, "top1", work="SG-Former"), evidence.claim(peer, "top1")
        assert gain
        assert own
        assert other
        rows.append(
            {
                "model": printed,
                _PEER: f"{peer} (named)" if metric.endswith(peer) else peer,
                "gain (points)": quoted(gain),
                "conditions of the gain": gain.claim.conditions,
                "difference of the printed accuracies": str(points(own) - points(other)),
                "peer's accuracy (%)": quoted(other),
                "peer's accuracy read in": other.claim.provenance,
            }
        )
    return table(rows, "Gains of accuracy that the text and the abstract print")


def points(row: Row) -> Decimal:
    """A printed percentage, exactly as printed."""
    return Decimal(row.claim.text.split(" ")[0])
