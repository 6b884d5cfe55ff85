"""SG-Former over resolution: what its claim of linear cost comes to, beside models of other kinds of attention."""

from bench.spec import Spec
from reports.figures import Picture
from reports.figures.memory_size import draw
from reports.ledger.check import PREDICTED, Term
from reports.papers.drawn import drawn, of_models
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.units import GIGA, MIB

SIZES = (224, 448, 672, 896)
MODELS = (  # registered, as a reader calls its attention
    ("sgformer_s", "hybrid and self-guided"),
    ("deit_small_patch16_224", "global"),
    ("swin_tiny_patch4_window7_224", "windows"),
    ("pvt_v2_b2", "spatially reduced"),
)

_TEXT = """
The paper prints accuracies at 384 px and no cost; so nothing is published beside these numbers. The released code
takes squares of multiples of 224 px alone, not 384. MACs that grow as pixels do are 16 times as many at 896 px as at
224. SG-Former's keys grow with the image too (its windows do not), so its MACs grow faster than pixels, and slower
than those of global attention. Significance is read off attention maps, which fused attention doesn't store: a route
that has no kernel of its own for it holds them, and so memory grows with the square of pixels too. Memory is that of
one image: at larger batches the weights' share is smaller.
"""
_NONE = Picture(
    "memory_size", "Memory against resolution", "Not drawn: no record has memory of these models over sizes."
)


def resolution(evidence: Evidence) -> Exhibit:
    """MACs and memory of one image over its size."""
    frame = of_models(evidence.frame, [model for model, _ in MODELS])
    return Exhibit(
        "sgformer-resolution",
        "Cost over resolution",
        "no table of SG-Former's; its claim that self-attention at fine grain stays affordable",
        _TEXT.strip(),
        (
            _over_sizes(evidence, "macs", GIGA, "MACs of one image (G)"),
            _over_sizes(evidence, PREDICTED, MIB, "Peak memory of one image (MiB)"),
        ),
        tuple(drawn("sgformer", draw, frame[frame["mode"] == "infer"], _NONE)),
    )


def _over_sizes(evidence: Evidence, metric: str, scale: float, title: str) -> Table:
    rows: list[dict[str, str | Pair]] = []
    for model, attention in MODELS:
        terms = [Term(Spec(model, size=(side, side)), metric, 1) for side in SIZES]
        sizes = {
            f"{side} px": evidence.pair(None, evidence.measure("value", term), scale)
            for side, term in zip(SIZES, terms, strict=True)
        }
        grown = evidence.pair(None, evidence.measure("ratio", terms[-1], terms[0]))
        rows.append({"model": model, "attention": attention, **sizes, f"{SIZES[-1]} px / {SIZES[0]} px": grown})
    return table(rows, title)
