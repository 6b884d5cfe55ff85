"""hMHSA's figures of attention maps: where heads look, and which of them look alike."""

from reports.figures import Picture
from reports.figures.gallery import draw as gallery
from reports.figures.hallucination import draw as hallucination
from reports.figures.similarity import draw as similarity
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit
from reports.papers.hmhsa.looked import shown

_TEXT = """
The paper draws all 12 heads of a trained DeiT-S with hMHSA, half of them hallucinated, and says that the latter look
at other things than those that they are made of. Heads 1 to 6 are computed here, 7 to 12 hallucinated. Random weights
show how a map is made and nothing of what heads learn; a model of trained weights is shown before others. How well
half of its heads can be predicted from the other half is the last picture, if that was asked for.
"""
_NOT_LOOKED = "Not drawn: no record has `{}` of these models."
_PICTURES = (
    (gallery, Picture("gallery", "Where heads look", _NOT_LOOKED.format("ccs"))),
    (similarity, Picture("similarity", "Similarity of heads", _NOT_LOOKED.format("ccs"))),
    (hallucination, Picture("hallucination", "Can heads be hallucinated?", _NOT_LOOKED.format("hallucination"))),
)


def galleries(evidence: Evidence) -> Exhibit:
    """Maps of heads over a photograph, head against head, and what of them is predicted."""
    frame = shown(evidence.frame)
    return Exhibit(
        "hmhsa-galleries",
        "Attention maps",
        "hMHSA and cFFN, figures 1a and 4",
        _TEXT.strip(),
        (),
        tuple(picture for draw, none in _PICTURES for picture in drawn("hmhsa", draw, frame, none)),
    )
