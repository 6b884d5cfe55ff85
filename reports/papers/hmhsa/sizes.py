"""hMHSA's table 8: fine-tuning at 384 and 448 px, of which only the sizes are known."""

from reports.figures import Picture
from reports.figures.reduction_size import draw
from reports.ledger.check import PREDICTED
from reports.papers.drawn import drawn, of_models
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.hmhsa.models import COUNT, MODELS, NAMES, term
from reports.papers.units import GIGA, MIB, PERCENT

_SIZES = ((384, "CIFAR-100"), (448, "Stanford Dogs"))

_TEXT = """
The paper fine-tunes on CIFAR-100 at 384 px and on Stanford Dogs at 448; its accuracies are in no text that was found,
and it prints no cost at these sizes. So the table says what remains there of the savings. MACs are fvcore's, of the
route that the paper describes. Memory is of one image and of the route that is quickest there: predicted, or of the
allocator where a GPU was used; the notes say which. The picture's plain MACs are of that route too: it may take more
of them for maps that it doesn't store.
"""
_NONE = Picture(
    "reduction_size",
    "Change against the base over resolution",
    "Not drawn: no record has these models and their bases at two sizes.",
)


def sizes(evidence: Evidence) -> Exhibit:
    """What is saved at the sizes of fine-tuning; over resolution as a picture."""
    return Exhibit(
        "hmhsa-sizes",
        "Savings at the sizes of fine-tuning",
        "hMHSA and cFFN, table 8: its sizes",
        _TEXT.strip(),
        tuple(_at(evidence, side, title) for side, title in _SIZES),
        tuple(drawn("hmhsa", draw, of_models(evidence.frame, NAMES), _NONE)),
    )


def _at(evidence: Evidence, side: int, title: str) -> Table:
    rows: list[dict[str, str | Pair]] = []
    for one in MODELS:
        base, ours = term(one.base, COUNT, side), term(one.ours, COUNT, side)
        memory = (term(one.ours, PREDICTED, side, 1), term(one.base, PREDICTED, side, 1))
        rows.append(
            {
                "model": one.printed,
                "MACs of the base (G)": evidence.pair(None, evidence.measure("value", base), GIGA),
                "with hMHSA, cFFN (G)": evidence.pair(None, evidence.measure("value", ours), GIGA),
                "saved of MACs (%)": evidence.pair(None, evidence.measure("saving", ours, base), PERCENT),
                "memory of the base (MiB)": evidence.pair(None, evidence.measure("value", memory[1]), MIB),
                "saved of memory (%)": evidence.pair(None, evidence.measure("saving", *memory), PERCENT),
            }
        )
    return table(rows, f"{title}, {side} px")
