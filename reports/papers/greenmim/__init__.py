"""GreenMIM's (arXiv:2205.13515) tables and figures, a file each. What they measure of steps is in `steps`."""

from collections.abc import Callable

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit
from reports.papers.greenmim.decoder_depth import decoder_depth
from reports.papers.greenmim.efficiency import efficiency
from reports.papers.greenmim.gpu_hours import gpu_hours
from reports.papers.greenmim.group_size import group_size
from reports.papers.greenmim.mask_ratio import mask_ratio
from reports.papers.greenmim.window import window

EXHIBITS: tuple[Callable[[Evidence], Exhibit], ...] = (
    efficiency,
    group_size,
    window,
    mask_ratio,
    decoder_depth,
    gpu_hours,
)
