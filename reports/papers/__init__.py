"""The papers' own tables and figures, rebuilt from records: a function an exhibit. The door is `section`."""

from collections.abc import Callable, Mapping

from reports.papers import beitv2, esvit, greenmim, hmhsa, sgformer
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit
from reports.style import styled

# In the order of the paper.
EXHIBITS: Mapping[str, tuple[Callable[[Evidence], Exhibit], ...]] = {
    "sgformer": sgformer.EXHIBITS,
    "hmhsa": hmhsa.EXHIBITS,
    "greenmim": greenmim.EXHIBITS,
    "esvit": esvit.EXHIBITS,
    "beitv2": beitv2.EXHIBITS,
}


@styled
def exhibits(evidence: Evidence, paper: str) -> list[Exhibit]:
    """All tables and figures of a paper, whether anything of them was measured or not: what was not says why."""
    return [build(evidence) for build in EXHIBITS[paper]]
