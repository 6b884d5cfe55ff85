"""SG-Former (arXiv:2308.12216): a file an exhibit."""

from collections.abc import Callable

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit
from reports.papers.sgformer.context import context
from reports.papers.sgformer.peers import peers
from reports.papers.sgformer.resolution import resolution
from reports.papers.sgformer.significance import significance
from reports.papers.sgformer.throughput import throughput
from reports.papers.sgformer.variants import variants

EXHIBITS: tuple[Callable[[Evidence], Exhibit], ...] = (
    variants,
    peers,
    throughput,
    resolution,
    context,
    significance,
)
