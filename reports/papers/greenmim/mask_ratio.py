"""What a step costs over the share of cells that are masked."""

from reports.figures import Picture
from reports.figures.mask_ratio import DEFAULT, MASK_RATIO, draw
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence, published
from reports.papers.exhibit import Exhibit
from reports.papers.greenmim.steps import ONE_MASK, family
from reports.papers.greenmim.sweep import tables

_RATIOS = (0, 0.5, 0.6, DEFAULT, 0.85)  # from all tokens on; the paper speaks of 0.5 to 0.85, and 0.6 is SimMIM's
_STABLE = "greenmim-008"
_NONE = Picture(
    "mask_ratio",
    "A step over the mask ratio",
    "Not drawn: neither time nor memory of a GreenMIM was recorded at two mask ratios.",
)


def mask_ratio(evidence: Evidence) -> Exhibit:
    """Time, memory and MACs of a step against those at the default ratio, and over all ratios beside the bases."""
    return Exhibit(
        "greenmim-mask-ratio",
        "Mask ratio",
        "the ablation of the mask ratio, whose table is in no text that was found",
        f"The paper says that accuracy is stable over mask ratios of {published(evidence.by_id[_STABLE])}, which is "
        "not measured here. This is what a step costs at each, as a multiple of that at the default. At 0 the encoder "
        f"has all tokens.\n\n{ONE_MASK}",
        tables(evidence, MASK_RATIO, _RATIOS),
        tuple(drawn("greenmim", draw, family(evidence.frame), _NONE)),
    )
