"""SG-Former's picture of throughput over accuracy, right of its table 2: drawn there, and in no text."""

from reports.figures import Picture
from reports.figures.accuracy_throughput import draw
from reports.format import number
from reports.ledger.models import BUILDS
from reports.papers.drawn import drawn, of_models
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.sgformer.elsewhere import INCEPTION, RMT, by_inception, by_rmt, rank, speeds

_CLAIM = "sgformer-031"
# The readings of that claim, in its order: a variant, and a peer of similar accuracy.
READINGS = (
    ("SG-Former-S", "Swin-S"),
    ("SG-Former-S", "Swin-B"),
    ("SG-Former-M", "MaxViT-T"),
    ("SG-Former-M", "MaxViT-S"),
    ("SG-Former-B", "MaxViT-S"),
    ("SG-Former-B", "MaxViT-B"),
)

_TEXT = """
The paper draws throughput on one RTX 2080 Ti over accuracy, and says of it that its models are the fastest at similar
accuracy; the numbers are in no text. So the claim is read as one on quotients: of a variant's throughput and that of
peers of the nearest accuracies that timm has. The authors of RMT measured all three variants too, and theirs
contradict it: the second table names the models of similar accuracy that were faster there. Verdict of the claim
here: {}.
"""
_NONE = Picture(
    "accuracy_throughput",
    "Published top-1 against measured throughput",
    "Not drawn: no record has a throughput of SG-Former or its peers.",
)


def throughput(evidence: Evidence) -> Exhibit:
    """The claim, pair by pair; what third parties measured; and accuracy over what was measured here."""
    row = evidence.by_id[_CLAIM]
    names = [one.claim.printed for source in (RMT, INCEPTION) for one in speeds(evidence, *source)]
    models = {build.model for (printed, size), build in BUILDS.items() if printed in names and size == 224}
    return Exhibit(
        "sgformer-throughput",
        "Throughput at similar accuracy",
        "SG-Former, the figure beside table 2",
        _TEXT.strip().format(row.verdict),
        (_said(evidence), rank(evidence), by_rmt(evidence), by_inception(evidence)),
        tuple(drawn("sgformer", draw, of_models(evidence.frame, models), _NONE)),
    )


def _said(evidence: Evidence) -> Table:
    row = evidence.by_id[_CLAIM]
    theirs = {one.claim.printed: one.claim.value for one in speeds(evidence, *RMT)}
    rows: list[dict[str, str | Pair]] = [
        {
            "model": own,
            "peer": peer,
            "its top-1, the peer's (%)": ", ".join(_top1(evidence, name) for name in (own, peer)),
            "quotient by RMT's authors": number(theirs[own] / theirs[peer], 3),
            "quotient": evidence.pair(None, found),
        }
        for (own, peer), found in zip(READINGS, row.found, strict=True)
    ]
    return table(rows, f"Throughput as a multiple of the peer's: the paper says above 1 ({_CLAIM})")


def _top1(evidence: Evidence, printed: str) -> str:
    row = evidence.claim(printed, "top1", RMT[1], RMT[0])
    return row.claim.text.split(" ")[0] if row else ""
