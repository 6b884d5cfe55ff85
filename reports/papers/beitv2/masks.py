"""Where BEiT v2's masks fall: block-wise ones, beside those of other models."""

from reports.figures import Picture
from reports.figures.mask_occupancy import METRIC, TITLE, draw
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, table

_ROWS = (("masked patches, of 196", "beitv2-056"), ("masked share of patches (%)", "beitv2-055"))
_TEXT = """\
Blocks of at least 16 patches are masked until 75 of the 196 are, so that a patch in the middle is masked more often
than one in a corner. The paper says how many are masked and by which rule, and nothing of where they fall."""


def masks(evidence: Evidence) -> Exhibit:
    """How many patches are masked, and how often each is."""
    missing = Picture(METRIC, TITLE, f"Not drawn: no {METRIC} is recorded.")
    return Exhibit(
        "beitv2-masks",
        TITLE,
        "Section 3.1: block-wise masking",
        _TEXT,
        (table([{"of a mask": words, "mean": evidence.pair(evidence.by_id.get(one))} for words, one in _ROWS]),),
        tuple(drawn("beitv2", draw, evidence.frame, missing)),
    )
