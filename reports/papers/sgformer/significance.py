"""SG-Former's pictures of significance: where the model looks, and where its tokens go."""

from reports.figures import Picture
from reports.figures.significance import draw
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit

_TEXT = """
Each guided block sorts its tokens by significance, the attention that they got in the block before, and merges runs
of neighbours in that order: of insignificant tokens many into one, of significant ones few or none. The paper's
pictures show areas that are compact; the released code merges tokens that are alike in significance, wherever they
are.
"""
_NONE = Picture("significance", "Where tokens go", "Not drawn: no record has `significance`.")


def significance(evidence: Evidence) -> Exhibit:
    """The maps of one photograph, a picture a model."""
    return Exhibit(
        "sgformer-significance",
        "Significance, and where tokens go",
        "SG-Former, its figures of significance maps and of reallocated tokens",
        _TEXT.strip(),
        (),
        tuple(drawn("sgformer", draw, evidence.frame, _NONE)),
    )
