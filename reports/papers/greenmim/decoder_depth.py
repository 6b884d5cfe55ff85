"""What deeper decoders cost."""

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit
from reports.papers.greenmim.steps import DECODER_DEPTH, ONE_MASK
from reports.papers.greenmim.sweep import pictures, tables

_DEPTHS = (1, 2, 4)


def decoder_depth(evidence: Evidence) -> Exhibit:
    """Time, memory and MACs of a step against those with the released single block."""
    return Exhibit(
        "greenmim-decoder-depth",
        "Decoder depth",
        "nothing printed that was found: the released models all have one block",
        "A step with a deeper decoder, as a multiple of that with the released one of a single block. The decoder sees "
        f"all cells of 32 px, masked or not.\n\n{ONE_MASK}",
        tables(evidence, DECODER_DEPTH, _DEPTHS),
        pictures(evidence, DECODER_DEPTH),
    )
