"""EsViT's pictures of attention: heat maps of heads, and their entropies."""

from reports.figures import Picture
from reports.figures.head_entropies import draw as head_entropies
from reports.figures.heat_maps import draw as heat_maps
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit

_TEXT = """
What each head of the last block looks at, and how wide: the paper draws both for its trained Swins. Here they are of
any model whose attention was looked at with trained weights. Random weights say nothing of a trained model and are left
out.
"""
_WANTED = "Not drawn: no record has `{}` of a model with trained weights."
_DRAWN = (
    (heat_maps, Picture("heat_maps", "Heat maps of heads", _WANTED.format("ccs"))),
    (head_entropies, Picture("head_entropies", "Entropies of the last block's heads", _WANTED.format("entropy"))),
)


def attention(evidence: Evidence) -> Exhibit:
    """Heat maps and entropies, or why there are none."""
    pictures = (picture for draw, none in _DRAWN for picture in drawn("esvit", draw, evidence.frame, none))
    return Exhibit(
        "esvit-attention",
        "Attention of the last block",
        "EsViT's pictures of attention, which are of its own weights and images",
        _TEXT.strip(),
        pictures=tuple(pictures),
    )
